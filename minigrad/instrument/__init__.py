"""The user's functions, run with hooks in them.

rewrite        code with hooks in it, in the place of a function's own
expressions    hooks at every expression
recording      what every expression gave, and what it was computed from
"""

from .recording import Edit, Event, Recorded, record
from .rewrite import Instrumented, Rewriter, codes_run

__all__ = ["Edit", "Event", "Instrumented", "Recorded", "Rewriter", "codes_run", "record"]
