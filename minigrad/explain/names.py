"""What the name of a variable says about what is in it."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["about", "letters"]


@lru_cache(maxsize=10_000)
def letters(name: str) -> str:
    """Return the letters of a name: of dh[t] and d["h"] those of dh and h."""
    quoted = re.search(r"""\[["'](\w+)["']\]$""", name)
    name = quoted[1] if quoted else name.split("[")[0]
    return re.sub(r"\W|_", "", name.replace("self.", "").lower())


@lru_cache(maxsize=10_000)
def about(name: str) -> frozenset[str]:
    """List what a variable may be the gradient of, by its name: dh, grad_h, h_grad of h."""
    full, found = letters(name), set[str]()
    for mark in ("gradient", "grad", "delta", "dl", "d", "g"):
        if full.startswith(mark):
            found.add(full[len(mark) :])
        if full.endswith(mark) and len(mark) > 1:
            found.add(full[: -len(mark)])
    if re.search(r"""\[["'](\w+)["']\]$""", name):
        found.add(full)  # grads["h"]
    return frozenset(found - {""})
