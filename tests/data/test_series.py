"""Windows, streams and parts of a long series."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import Streams, split, windows


def test_windows():
    x, y = windows(np.arange(5.0), 3)
    assert x.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert y.tolist() == [3, 4]
    with pytest.raises(ValueError, match=r"1 value.* position 2 \(nan\)"):
        windows([1.0, 2.0, np.nan, 4.0], 2)
    with pytest.raises(ValueError, match="series of 2 values"):
        windows([1.0, 2.0], 2)
    with pytest.raises(ValueError, match=r"\(N, V\) of V variables, not of shape \(2, 2, 2\)"):
        windows(np.ones((2, 2, 2)), 1)


@pytest.mark.parametrize("horizon", [None, 1, 3])
@pytest.mark.parametrize("variables", [None, 2])
def test_windows_of_several_variables_and_steps(variables, horizon):
    n, length, steps = 11, 4, horizon or 1
    series = np.arange(float(n * (variables or 1)))
    series = series.reshape(n, variables) if variables else series
    x, y = windows(series, length, horizon)
    assert len(x) == len(y) == n - length - steps + 1
    for k in range(len(x)):
        np.testing.assert_array_equal(x[k], series[k : k + length])
        after = series[k + length : k + length + steps]
        np.testing.assert_array_equal(y[k], after if horizon else after[0])
    with pytest.raises(ValueError, match="11 values has no windows of 9 and 3 values after them"):
        windows(series, 9, 3)


def test_the_place_of_what_is_not_finite_is_said():
    series = np.ones((6, 3))
    series[4, 1] = np.inf
    with pytest.raises(ValueError, match=r"position 4, 1 \(inf\)"):
        windows(series, 2)


def test_windows_share_no_memory_with_the_series():
    series = np.arange(5.0)
    x, y = windows(series, 2)
    series[:] = 0
    assert x[-1].tolist() == [2, 3]
    assert y.tolist() == [2, 3, 4]


def test_streams_go_on_from_chunk_to_chunk():
    values = np.arange(23 * 2).reshape(23, 2)
    streams = Streams(values, values[:, 0], batch_size=3, length=3)
    chunks = list(streams)
    assert [x.shape for x, _ in chunks] == [(3, 3, 2), (3, 3, 2), (1, 3, 2)]
    assert len(streams) == 3
    x = np.concatenate([x for x, _ in chunks])
    for b in range(3):
        np.testing.assert_array_equal(x[:, b], values[7 * b : 7 * b + 7])
    np.testing.assert_array_equal(np.concatenate([y for _, y in chunks]), x[..., 0])
    assert [streams.at_start for _ in streams] == [True, False, False]


def test_a_carried_state_is_that_of_the_whole_sequence():
    text = np.random.default_rng(0).normal(size=(12, 1)).astype(np.float32)
    lstm, state, seen = mg.nn.LSTM(1, 4, rng=0), None, []
    streams = Streams(text, batch_size=2, length=4)
    with mg.no_grad():
        for (x,) in streams:
            state = None if streams.at_start else state
            hs, state = lstm(x, state)
            seen.append(hs.data)
        whole, _ = lstm(text.reshape(2, 6, 1).swapaxes(0, 1))
    np.testing.assert_array_equal(np.concatenate(seen), whole.data)


def test_streams_are_dealt_out_by_columns():
    def made():
        return Streams(np.arange(46), batch_size=5, length=4)  # 9 steps of each

    whole = [x for (x,) in made()]
    for ranks in (2, 3, 7):
        parts = [list(made().shares(rank, ranks)) for rank in range(ranks)]
        for k, x in enumerate(whole):
            shares = [part[k] for part in parts]
            got = [share.batch[0] for share in shares if share.rows]
            np.testing.assert_array_equal(np.concatenate(got, axis=1), x)
            assert sum(share.rows for share in shares) == shares[0].of == x.size


def test_streams_resume_inside_an_epoch():
    def made():
        return Streams(np.arange(40), batch_size=2, length=3)

    first, second = made(), made()
    given = iter(first)
    next(given), next(given)
    second.load_state_dict(first.state_dict())
    rest = [x.tolist() for (x,) in second]
    assert rest == [x.tolist() for (x,) in given]
    assert len(rest) == 5
    assert (second.epoch, second.position) == (1, 0)
    with pytest.raises(ValueError, match="length is 3, and here 4"):
        Streams(np.arange(40), batch_size=2, length=4).load_state_dict(first.state_dict())


def test_split_by_time_and_at_random():
    x, y = np.arange(20), [f"row {k}" for k in range(20)]
    parts = split(x, y)
    assert [part.tolist() for part, _ in parts] == [[*range(16)], [16, 17], [18, 19]]
    assert parts[1][1] == ["row 16", "row 17"]
    random = split(x, y, rng=0)
    assert [len(part) for part, _ in random] == [16, 2, 2]
    assert sorted(np.concatenate([part for part, _ in random])) == [*range(20)]
    assert all([f"row {k}" for k in part] == text for part, text in random)
    assert random[0][0].tolist() != parts[0][0].tolist()
    assert split(x, rng=0)[0][0].tolist() == random[0][0].tolist()


def test_a_gap_keeps_windows_apart():
    """No value of a window, or after it, is in windows of two parts."""
    series = np.arange(50.0)
    x, y = windows(series, 5, horizon=2)
    parts = split(x, y, shares=(0.6, 0.2, 0.2), gap=6)
    seen = [{*np.concatenate([a.ravel(), b.ravel()]).tolist()} for a, b in parts]
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]
    close = split(x, y, shares=(0.6, 0.2, 0.2), gap=5)
    assert {*close[0][1].ravel().tolist()} & {*close[1][0].ravel().tolist()}


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: windows([1.0, 2.0, 3.0], 0), ValueError, "length must be an integer, at least 1"),
        (lambda: windows([1.0, 2.0, 3.0], 1.5), TypeError, "length must be an integer"),
        (
            lambda: windows([1.0, 2.0, 3.0], 1, 0),
            ValueError,
            "horizon must be an integer, at least",
        ),
        (lambda: windows(["1", "2", "3"], 1), TypeError, "windows takes real numbers"),
        (lambda: windows([1j, 2, 3], 1), TypeError, "windows takes real numbers"),
        (lambda: Streams(batch_size=1, length=1), TypeError, "give arrays"),
        (lambda: Streams(3, batch_size=1, length=1), TypeError, "sequences of numbers, not"),
        (lambda: Streams([1, 2], [1], batch_size=1, length=1), ValueError, r"\[2, 1\] must be"),
        (lambda: Streams([1, 2], batch_size=3, length=1), ValueError, "2 steps are too few for 3"),
        (lambda: Streams([1, 2], batch_size=1, length=0), ValueError, "length must be an integer"),
        (lambda: split(), TypeError, "give arrays"),
        (lambda: split(3.0), TypeError, "arrays with rows, not 3.0"),
        (lambda: split([1, 2], [1]), ValueError, r"lengths \[2, 1\] must be equal"),
        (lambda: split([1, 2], shares=(0.5, 0.4)), ValueError, "add up to 1, not 0.9"),
        (lambda: split([1, 2], shares=(8, 2)), ValueError, r"shares must be in \(0, 1\]"),
        (lambda: split([1, 2], shares=(0.9, 0.1)), ValueError, r"parts of \[2, 0\]"),
        (lambda: split([1] * 9, gap=1, rng=0), ValueError, "parts in time; leave rng out"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
