"""From a recorded program to the one that runs: `passes` has the order."""
