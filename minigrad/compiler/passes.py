"""The passes in their order: what is recorded becomes what is run."""

from __future__ import annotations

from .normal import normal
from .program import Program
from .roll import rolled
from .together import together

__all__ = ["optimised"]


def optimised(program: Program) -> Program:
    """Return a recorded program in its fastest form known here, for any back end."""
    return rolled(together(normal(program)))
