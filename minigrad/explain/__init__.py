"""What is wrong with a gradient that was derived by hand: the place, the kind, and a sentence.

backward      the recorded backward pass        words     names for what it has, as the user wrote
kinds         the table of kinds of mistakes, for the places that these name:
term          one term of a gradient            spots     terms at all steps of a loop, or at some
others        what may be taken for another     forms     wrong derivatives people write
changes       walks of what a mistake changes
recognised    the row of the table that gives what stands in the place of a right value
single        the row that gives wrong gradients, where there is no code to run

truth         the true quantities of the tape, and which of them an array is
blame         the user's own code: where wrong values come of right ones
repair        runs of it with one expression replaced, and which of them are the proof
places        where that may be                 attempts  what may be put there: series
series        of true quantities                mixed     of the user's other variables
sizes         numbers that are no arrays
names         what the name of a variable says
traced        the wrong statements of it
findings      what is said of such a place      listing   the backward pass, annotated

explanation   what is said of a mistake
case          a loss and the gradients derived by hand for it
"""

from .case import Case, Divergence
from .explanation import Explanation, Explanations
from .listing import Listing

__all__ = [
    "Case",
    "Divergence",
    "Explanation",
    "Explanations",
    "Listing",
]
