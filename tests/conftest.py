"""A test that leaks global state fails: recording, scope, default dtype, NumPy's generator."""

import numpy as np
import pytest

from minigrad.core.context import current
from minigrad.core.dtypes import get_default_dtype


def _state():
    context, random = current(), np.random.get_state()
    return context.recording, context.scope, get_default_dtype(), random[1].tobytes(), random[2]


@pytest.fixture(autouse=True)
def no_leaks():
    before = _state()
    yield
    assert _state() == before, "the test left global state changed"
