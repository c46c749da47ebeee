"""Recording: what a function does, written down, and what it reads from outside."""
