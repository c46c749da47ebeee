"""Containers: what must hold for every one, which hypothesis draws."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import minigrad as mg
from minigrad.core import tree

LEAVES = st.one_of(st.floats(-1, 1), st.none())
CONTAINERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
    ),
    max_leaves=8,
)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(CONTAINERS)
def test_containers(container):
    leaves, structure = tree.flatten(container)
    assert tree.unflatten(structure, leaves) == container
    assert len(tree.names(structure)) == len(set(tree.names(structure))) == len(leaves)
    doubled = mg.grad(lambda c: sum((x * x for x in tree.flatten(c)[0]), start=0.0))(container)
    assert tree.flatten(doubled)[1] == structure
    for g, x in zip(tree.flatten(doubled)[0], leaves, strict=True):
        assert g.item() == pytest.approx(2 * x)
