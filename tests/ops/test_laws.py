"""Every law, on every operation, on every sample: a new primitive is tested by existing."""

import pytest

import minigrad  # noqa: F401  (fills the registry)
from minigrad.testing import LAWS, Draw, operations

CASES = [
    pytest.param(op, case, id=f"{name}-{k}")
    for name, op in operations().items()
    for k, case in enumerate(op.samples(Draw(0)))
]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("op", "case"), CASES)
def test_law(law, op, case):
    LAWS[law](op, case)
