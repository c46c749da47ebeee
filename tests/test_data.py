"""Windows and batches of arrays."""

import numpy as np
import pytest

from minigrad.data import batches, windows


def test_windows():
    x, y = windows(np.arange(5.0), 3)
    assert x.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert y.tolist() == [3, 4]
    with pytest.raises(ValueError, match=r"1 value.* position 2 \(nan\)"):
        windows([1.0, 2.0, np.nan, 4.0], 2)
    with pytest.raises(ValueError, match="series of 2 values"):
        windows([1.0, 2.0], 2)
    with pytest.raises(ValueError, match="one axis"):
        windows(np.ones((2, 2)), 1)


def test_batches():
    x, y = np.arange(5), np.arange(5) * 10
    assert [a.tolist() for a, _ in batches(x, y, size=2)] == [[0, 1], [2, 3], [4]]
    shuffled = list(batches(x, y, size=2, rng=np.random.default_rng(0)))
    assert sorted(np.concatenate([a for a, _ in shuffled])) == x.tolist()
    assert all((b == 10 * a).all() for a, b in shuffled)
    with pytest.raises(ValueError, match="size 0"):
        next(batches(x, size=0))
