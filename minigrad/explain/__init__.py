"""Explanations of a wrong gradient: which mistake in the backward pass would give these numbers.

    backward    the recorded backward pass, to be walked again with some lines changed
    words       names for its quantities, as the user wrote them
    spot        where mistakes are made, and what a mistake is
    local       mistakes in one derivative      forms    wrong derivatives people write
    exchanged   one quantity in the place of another
    spans       mistakes made at some time steps only
    search      all of them tried, and what fits
"""

from .backward import Backward
from .search import Explanation, Explanations, explain
from .words import Where, Words

__all__ = ["Backward", "Explanation", "Explanations", "Where", "Words", "explain"]
