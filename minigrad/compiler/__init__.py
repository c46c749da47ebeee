"""Functions recorded once and run as optimised programs: see `program` for what a program is."""
