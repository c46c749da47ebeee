"""The loader: what it makes of arrays, lists and sequences, its order, and its state."""

import json
from itertools import chain

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import DataLoader, class_weights, padded


def rows(loader):
    return [x.tolist() for (x,) in loader]


def test_batches_in_order():
    x = np.arange(5)
    loader = DataLoader(x, x * 10, batch_size=2)
    assert [(a.tolist(), b.tolist()) for a, b in loader] == [
        ([0, 1], [0, 10]),
        ([2, 3], [20, 30]),
        ([4], [40]),
    ]
    assert len(loader) == 3
    assert rows(DataLoader(x, batch_size=2, drop_last=True)) == [[0, 1], [2, 3]]
    assert len(DataLoader(x, batch_size=5, drop_last=True)) == 1
    (t,) = next(iter(DataLoader(mg.tensor([1.0, 2.0]), batch_size=2)))
    assert t.tolist() == [1, 2]


def test_a_loader_says_what_it_is():
    loader = DataLoader(range(5), batch_size=2)
    said = "DataLoader(rows=5, batch_size=2, shuffle=False, drop_last=False)  # 3 batches, epoch "
    assert repr(loader) == f"{said}1"
    list(loader)
    assert repr(loader) == f"{said}2"


def test_every_epoch_has_an_order_of_its_own_that_the_seed_gives():
    first, second = (DataLoader(range(20), batch_size=6, shuffle=True, rng=3) for _ in range(2))
    epochs = [rows(first) for _ in range(3)]
    assert epochs == [rows(second) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert all(sorted(chain(*epoch)) == [*range(20)] for epoch in epochs)
    assert first.epoch == 3


def test_without_a_seed_the_order_is_that_of_manual_seed_alone():
    """What else is drawn from that generator between epochs changes nothing."""
    orders = []
    for draws in (0, 7):
        mg.manual_seed(5)
        loader = DataLoader(range(20), batch_size=20, shuffle=True)
        orders.append(rows(loader))
        mg.nn.Linear(draws + 1, 3)
        orders[-1] += rows(loader)
    assert orders[0] == orders[1]


@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("weights", [None, np.arange(11.0)])
def test_a_state_goes_on_with_the_batches_that_are_left(at, weights):
    """After any number of batches, through the text that a file holds, and in epochs to come."""

    def made():
        return DataLoader(
            np.arange(11), batch_size=3, shuffle=True, weights=weights, rng=0
        )  # 4 batches

    first, second = made(), made()
    endless = (batch[0].tolist() for _ in range(4) for batch in first)
    seen = [next(endless) for _ in range(at)]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    again = (batch[0].tolist() for _ in range(3) for batch in second)
    following = [next(endless) for _ in range(7)]
    assert [next(again) for _ in range(7)] == following
    if at:
        assert seen[-1] != following[0]


def test_a_state_after_the_last_batch_ends_the_epoch():
    loader, other = (DataLoader(range(4), batch_size=2) for _ in range(2))
    given = iter(loader)
    next(given), next(given)
    other.load_state_dict(loader.state_dict())
    assert rows(other) == []
    assert rows(other) == [[0, 1], [2, 3]]
    assert other.epoch == 2


def test_a_loop_that_is_left_begins_anew():
    loader = DataLoader(range(4), batch_size=2)
    next(iter(loader))
    assert rows(loader) == [[0, 1], [2, 3]]
    assert loader.epoch == 1


def test_a_state_of_another_loader_is_refused_and_nothing_changed():
    loader = DataLoader(range(9), batch_size=2, shuffle=True, rng=0)
    next(iter(loader))
    before = loader.state_dict()
    for other, message in [
        (DataLoader(range(8), batch_size=2, shuffle=True), "rows is 8, and here 9"),
        (DataLoader(range(9), batch_size=3, shuffle=True), "batch_size is 3, and here 2"),
        (DataLoader(range(9), batch_size=2), "shuffle is False, and here True"),
    ]:
        with pytest.raises(ValueError, match=message):
            loader.load_state_dict(other.state_dict())
    for wrong, kind, message in [
        ({}, ValueError, "missing rows"),
        ({**before, "more": 1}, ValueError, "unexpected more"),
        ({**before, "position": 6}, ValueError, "at batch 6 of 5"),
        ({**before, "position": -1}, ValueError, "position must be"),
        ({**before, "order": None}, TypeError, "order must be an integer"),
        ({**before, "generator": {"bit_generator": "MT19937"}}, ValueError, "PCG64"),
        (3, TypeError, "takes a dict, not 3"),
    ]:
        with pytest.raises(kind, match=message):
            loader.load_state_dict(wrong)
    assert loader.state_dict() == before


def test_shares_of_all_ranks_make_up_the_batches():
    x = np.arange(10)
    for ranks in (1, 2, 3, 5):
        loaders = [DataLoader(x, batch_size=4, shuffle=True, rng=0) for _ in range(ranks)]
        parts = [list(loader.shares(r, ranks)) for r, loader in enumerate(loaders)]
        whole = rows(DataLoader(x, batch_size=4, shuffle=True, rng=0))
        for k, batch in enumerate(whole):
            shares = [part[k] for part in parts]
            got = [share.batch[0].tolist() for share in shares if share.batch is not None]
            assert [*chain(*got)] == batch
            assert [share.rows for share in shares] == [
                0 if share.batch is None else len(share.batch[0]) for share in shares
            ]
            assert {share.of for share in shares} == {len(batch)}


# ---- what is given -------------------------------------------------------------------------------


def test_sequences_of_several_lengths_are_padded():
    names = [np.ones((n, 2), np.float32) * n for n in (3, 1, 2)]
    loader = DataLoader(names, [0, 1, 2], batch_size=2, pad=True)
    (x, lengths, y), (x2, lengths2, y2) = loader
    assert (x.shape, lengths.tolist(), y.tolist()) == ((3, 2, 2), [3, 1], [0, 1])
    assert (x2.shape, lengths2.tolist(), y2.tolist()) == ((2, 1, 2), [2], [2])
    np.testing.assert_array_equal(x, padded(names[:2])[0])
    x, lengths, _ = next(iter(DataLoader(names, [0] * 3, batch_size=3, pad=True, batch_first=True)))
    assert x.shape == (3, 3, 2)
    with pytest.raises(ValueError, match=r"write pad=True"):
        DataLoader([[1, 2], [3]], batch_size=1)


def test_what_is_given_back_does_not_depend_on_which_lengths_meet():
    same = DataLoader([[1, 2], [3, 4]], [0, 1], batch_size=2, pad=True)
    x, lengths, y = next(iter(same))
    assert (x.tolist(), lengths.tolist(), y.tolist()) == ([[1, 3], [2, 4]], [2, 2], [0, 1])


class Table:
    """What has labels for its rows, and can be an array: as a table of pandas."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, label):
        raise AssertionError("rows are not asked for by their labels")

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def test_tables_are_arrays():
    assert rows(DataLoader(Table([[1, 2], [3, 4]]), batch_size=1)) == [[[1, 2]], [[3, 4]]]


def test_arrays_of_objects_are_lists():
    ragged = np.array([[1], [2, 3]], dtype=object)
    x, lengths = next(iter(DataLoader(ragged, batch_size=2, pad=True)))
    assert (x.tolist(), lengths.tolist()) == ([[1, 2], [0, 3]], [1, 2])
    with pytest.raises(ValueError, match="write pad=True"):
        DataLoader(ragged, batch_size=2)
    assert list(DataLoader(ragged, batch_size=2, collate=lambda rows: rows)) == [[[1], [2, 3]]]


def test_a_mask_is_not_lost():
    masked = np.ma.array([1.0, 2.0], mask=[True, False])
    for call in (
        lambda: DataLoader(masked, batch_size=1),
        lambda: mg.data.batches(masked, size=1),
        lambda: mg.data.windows(masked, 1),
        lambda: mg.data.Streams(masked, batch_size=1, length=1),
        lambda: mg.data.split(masked),
    ):
        with pytest.raises(TypeError, match="not a masked array, whose mask would be lost"):
            call()


class Squares:
    """Rows that are made when they are asked for."""

    def __init__(self):
        self.asked = []

    def __len__(self):
        return 5

    def __getitem__(self, k):
        self.asked.append(k)
        return np.full(2, k), k * k


def test_rows_that_are_tuples_have_several_parts():
    table = [(np.ones(2) * k, k) for k in range(3)]
    (x, y), _ = DataLoader(table, batch_size=2)
    assert (x.tolist(), y.tolist()) == ([[0, 0], [1, 1]], [0, 1])
    squares = Squares()
    loader = DataLoader(squares, ["a", "b", "c", "d", "e"], batch_size=3)
    x, y, letters = next(iter(loader))
    assert (x.shape, y.tolist(), letters.tolist()) == ((3, 2), [0, 1, 4], ["a", "b", "c"])
    assert {*squares.asked} == {0, 1, 2}
    with pytest.raises(ValueError, match="tuples of one length, or none"):
        DataLoader([(1, 2), (3,)], batch_size=1)


def test_collate_makes_the_batches():
    loader = DataLoader(
        ["a", "bcd"], np.arange(2), batch_size=2, collate=lambda x, y: ("".join(x), y.sum())
    )
    assert list(loader) == [("abcd", 1)]


def test_weights_draw_classes_alike():
    y = np.repeat([0, 1], [980, 20])
    loader = DataLoader(y, batch_size=100, shuffle=True, weights=class_weights(y)[y], rng=0)
    drawn = np.concatenate([batch[0] for batch in loader])
    assert len(drawn) == 1000
    assert abs(drawn.mean() - 0.5) < 0.06  # about 4 standard deviations
    never = DataLoader(range(9), batch_size=9, shuffle=True, weights=np.arange(9) % 2, rng=0)
    assert {k % 2 for k in rows(never)[0]} == {1}


def test_class_weights_make_the_loss_that_of_classes_alike():
    y = np.array([0, 0, 0, 1])
    logits = np.random.default_rng(0).normal(size=(4, 2))
    w = class_weights(y)
    each = mg.nn.cross_entropy(logits, y, reduction="none").data
    weighed = mg.nn.cross_entropy(logits, y, weight=w).item()
    np.testing.assert_allclose(weighed, (each[:3].mean() + each[3]) / 2)
    for wrong, kind, message in [
        ([0, 2], ValueError, "class 1 has no rows"),
        ([0.0, 1.0], TypeError, "integers from 0, not float64"),
        ([-1, 0], ValueError, r"must lie in 0 \.\. 0"),
        ([], TypeError, "takes labels"),
    ]:
        with pytest.raises(kind, match=message):
            class_weights(wrong)
    with pytest.raises(ValueError, match="class 2 has no rows"):
        class_weights([0, 1], classes=3)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: DataLoader(batch_size=1), TypeError, "give arrays"),
        (lambda: DataLoader([1, 2], 2, batch_size=1), TypeError, "not 2; write batch_size="),
        (lambda: DataLoader("abc", batch_size=1), TypeError, "lists of rows, not 'abc'"),
        (lambda: DataLoader({1: 2}, batch_size=1), TypeError, "lists of rows, not"),
        (lambda: DataLoader((k for k in "ab"), batch_size=1), TypeError, "lists of rows"),
        (lambda: DataLoader(np.array(1), batch_size=1), TypeError, "arrays with rows"),
        (lambda: DataLoader([1, 2], batch_size=0), ValueError, "batch_size must be an integer"),
        (lambda: DataLoader([1, 2], [1], batch_size=1), ValueError, r"lengths \[2, 1\]"),
        (lambda: DataLoader([], batch_size=1), ValueError, "no batches in 0 rows"),
        (lambda: DataLoader([1], batch_size=2, drop_last=True), ValueError, "which is dropped"),
        (lambda: DataLoader([1], batch_size=1, rng=0), ValueError, "write shuffle=True"),
        (lambda: DataLoader([1], batch_size=1, shuffle=1), TypeError, "shuffle must be True"),
        (lambda: DataLoader([1], batch_size=1, weights=[1.0]), ValueError, "write shuffle=True"),
        (lambda: DataLoader([1], batch_size=1, collate=3), TypeError, "collate must be a function"),
        (lambda: DataLoader([1], batch_size=1, collate=abs, pad=True), ValueError, "leave pad"),
        (
            lambda: DataLoader([1, 2], batch_size=1, shuffle=True, weights=[1.0]),
            ValueError,
            r"must have shape \(2,\).*weights\[labels\]",
        ),
        (
            lambda: DataLoader([1, 2], batch_size=1, shuffle=True, weights=[0, 0]),
            ValueError,
            "finite, at least 0, and not all 0",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
