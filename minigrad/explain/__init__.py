"""Explanations of a wrong gradient: which mistake in the backward pass would give these numbers.

backward    the recorded backward pass      walks    walked again with some lines changed
words       names for its quantities, as the user wrote them
spot        where mistakes are made, and what a mistake is
local       mistakes in one derivative      forms    wrong derivatives people write
operands    another value                   pool     those there are
gradients   another gradient                leaves   one that is ready, and returned wrongly
shapes      axes and transposes             blocks   parts of an array in each other's places
chains      functions of several operations calls    every call of one
spans       some time steps only
trial       mistakes held to the numbers    fitted   those that the numbers ask for
search      all of them tried, and what fits

These take their place:

kinds       the table of kinds of mistakes  term     where one is made: a term of a gradient
others      what may be taken for another   spots    terms at all steps, or at some
changes     walks of what changes           recognised   the row that gives a wrong value
single      the row that gives wrong gradients   explanation   what is said

And these run the user's own code:

truth       the true quantities of the tape, and which of them an array is
blame       the user's own code: where wrong values come of right ones
repair      runs of it with one expression replaced
traced      the wrong statements of it

findings    what is said of such a place        listing  the backward pass, annotated

case        a loss and the gradients derived by hand for it
"""

from .case import Case, Divergence
from .explanation import Explanation, Explanations
from .listing import Listing
from .words import Where

__all__ = [
    "Case",
    "Divergence",
    "Explanation",
    "Explanations",
    "Listing",
    "Where",
]
