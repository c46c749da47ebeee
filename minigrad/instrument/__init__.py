"""The user's functions, run with hooks in them.

rewrite    code with hooks in it, in the place of a function's own
"""

from .rewrite import Instrumented, Rewriter, codes_run

__all__ = ["Instrumented", "Rewriter", "codes_run"]
