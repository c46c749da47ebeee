"""Explanations of a wrong gradient: which mistake in the backward pass would give these numbers.

backward    the recorded backward pass, to be walked again with some lines changed
words       names for its quantities, as the user wrote them
spot        where mistakes are made, and what a mistake is
local       mistakes in one derivative      forms    wrong derivatives people write
exchanged   one quantity in the place of another
blocks      parts of an array in each other's places
chains      functions composed of several operations
leaves      gradients that are ready, and returned wrongly
spans       mistakes made at some time steps only
search      all of them tried, and what fits
case        a loss and the gradients derived by hand for it
"""

from .case import Case, Divergence
from .chain_rule import ChainRule, chain_rule
from .search import Explanation, Explanations
from .words import Where

__all__ = [
    "Case",
    "ChainRule",
    "Divergence",
    "Explanation",
    "Explanations",
    "Where",
    "chain_rule",
]
