"""One generator for all that draws and is given no other."""

import copy

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


def numbers():
    """All that draws without a generator of its own: initial values, and masks."""
    net = nn.Sequential(nn.Linear(3, 4), nn.Embedding(4, 2), nn.LSTM(2, 2), nn.Conv1d(1, 1, 3))
    x = np.ones(50, np.float32)
    return [*net.state_dict().values(), nn.Dropout(0.5)(x).data, copy.deepcopy(DROPOUT)(x).data]


DROPOUT = nn.Dropout(0.5)


def test_the_same_seed_gives_the_same_numbers():
    mg.manual_seed(3)
    first, second = numbers(), numbers()
    mg.manual_seed(np.int64(3))
    for a, b, c in zip(first, numbers(), second, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    mg.manual_seed(4)
    assert not np.array_equal(numbers()[0], first[0])


def test_the_numbers_are_those_of_numpys_generator_and_of_no_other():
    before = np.random.get_state()[1].copy()
    given = mg.manual_seed(5)
    np.testing.assert_array_equal(
        nn.Linear(2, 3).weight.data, nn.Linear(2, 3, rng=np.random.default_rng(5)).weight.data
    )
    mg.manual_seed(5)
    np.testing.assert_array_equal(
        nn.Linear(2, 3, rng=given).weight.data, nn.Linear(2, 3, rng=5).weight.data
    )
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_two_layers_are_not_the_same():
    mg.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), mg.relu, nn.Linear(3, 3))
    assert not np.array_equal(net[0].weight.data, net[2].weight.data)
    net.parameters()


def test_two_layers_of_one_seed_are_worth_a_warning():
    """Of different inputs they may differ in time; side by side they never do."""
    net = nn.Sequential(nn.Linear(3, 3, rng=0), mg.relu, nn.Linear(3, 3, rng=0))
    with pytest.warns(mg.GraphWarning, match=r"0\.weight and 2\.weight hold the same.*manual_seed"):
        mg.optim.SGD(net.parameters(), lr=0.1)
    net[0].requires_grad_(False)  # as a teacher is
    net.parameters()


@pytest.mark.parametrize("seed", [-1, 1.0, None, "0", True, np.random.default_rng(0)])
def test_what_is_no_seed(seed):
    with pytest.raises(TypeError, match="manual_seed: takes a whole number, at least 0, not"):
        mg.manual_seed(seed)


def test_a_checkpoint_draws_the_masks_again():
    mg.manual_seed(0)
    x = mg.tensor(np.ones(20), requires_grad=True)
    drop = nn.Dropout(0.5)
    y = mg.checkpoint(lambda x: drop(x) * x)(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * y.data)
