"""What is refused or warned of, in words: what happened, in which line, and what to write instead.

errors             how errors and warnings are worded, and which line of the user's they name
hints              what other libraries call otherwise
leaving            how a tensor leaves the graph: where it is said, never silently
repeated_backward  backward passes that walk again what was walked or is out of date

It knows nothing of the engine: the engine asks it, and passes what it needs to know.
"""
