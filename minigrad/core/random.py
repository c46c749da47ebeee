"""Random numbers: one generator, which `manual_seed` seeds, for all that is given no other."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from ..guard.errors import shown
from .context import tracing

__all__ = ["Seed", "generator", "manual_seed"]

# loads np.random with this page: a forked child would wait for ever for another thread's import
Seed: TypeAlias = int | np.random.Generator | None
"""A seed, a generator, or None for the one of `manual_seed`."""

_default = np.random.default_rng()


def manual_seed(seed: int) -> np.random.Generator:
    """Seed the generator that everything draws from unless it is given another, and return it.

    What is drawn then, in one thread and in the same order, is drawn again after the same seed: the
    initial values of modules, masks of dropout. The numbers are those of
    `np.random.default_rng(seed)`. NumPy's and Python's own generators are left alone.

    >>> from minigrad import nn
    >>> _ = manual_seed(0)
    >>> a, b = nn.Linear(3, 2), nn.Linear(3, 2)  # each draws numbers of its own
    >>> _ = manual_seed(0)
    >>> np.array_equal(nn.Linear(3, 2).weight.data, a.weight.data)
    True
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise TypeError(f"manual_seed: takes a whole number, at least 0, not {shown(seed)}")
    if tracing():
        raise TypeError(
            "manual_seed: a compiled function would be seeded at its recording only; seed before it"
        )
    _default.bit_generator.state = np.random.default_rng(seed).bit_generator.state
    return _default


def generator(rng: Seed = None) -> np.random.Generator:
    """Return a generator: one made from a seed, itself if it is one, the default one for None."""
    if rng is None:
        return _default
    if isinstance(rng, bool) or not isinstance(rng, (int, np.integer, np.random.Generator)):
        raise TypeError(
            f"rng must be a seed, as rng=0, or np.random.default_rng(seed), not {shown(rng)}"
        )
    return np.random.default_rng(rng)  # a generator as it is
