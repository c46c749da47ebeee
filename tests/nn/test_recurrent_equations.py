"""Recurrent layers that PyTorch has not, against their equations in plain NumPy.

Values, and gradients against central differences of the equations: peepholes, layer normalisation,
recurrent dropout, and all of them together.
"""

import copy

import numpy as np
import pytest

from minigrad import nn
from tests.helpers import leaf

T, B, I, H, P = 4, 3, 2, 3, 2


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def norm(a):
    m = a.mean(axis=1, keepdims=True)
    return (a - m) / np.sqrt(((a - m) ** 2).mean(axis=1, keepdims=True) + 1e-5)


def same(a):
    return a


def rnn(p, x, h, mask, normed):
    n, hs = norm if normed else same, []
    for row in x:
        a = n(row @ p["weight_ih"].T) * p.get("gain_ih", 1) + p.get("bias_ih", 0)
        h = np.tanh(
            a + n((h * mask) @ p["weight_hh"].T) * p.get("gain_hh", 1) + p.get("bias_hh", 0)
        )
        hs.append(h)
    return np.stack(hs), h


def gru(p, x, h, mask, normed):
    n, hs = norm if normed else same, []
    gates = [slice(0, 2 * H), slice(2 * H, 3 * H)]
    for row in x:
        product_x, product_h = row @ p["weight_ih"].T, (h * mask) @ p["weight_hh"].T
        (x_rz, x_n), (h_rz, h_n) = [
            [
                n(product[:, k]) * p.get("gain_" + side, np.ones(3 * H))[k]
                + p.get("bias_" + side, np.zeros(3 * H))[k]
                for k in gates
            ]
            for product, side in ((product_x, "ih"), (product_h, "hh"))
        ]
        rz = sigmoid(x_rz + h_rz)
        r, z = rz[:, :H], rz[:, H:]
        h = (1 - z) * np.tanh(x_n + r * h_n) + z * h
        hs.append(h)
    return np.stack(hs), h


def lstm(p, x, h, c, mask, normed):
    n, hs = norm if normed else same, []
    p_i, p_f, p_o = np.split(p.get("weight_ch", np.zeros(3 * H)), 3)
    for row in x:
        a = n(row @ p["weight_ih"].T) * p.get("gain_ih", 1) + p.get("bias_ih", 0)
        a = a + n((h * mask) @ p["weight_hh"].T) * p.get("gain_hh", 1) + p.get("bias_hh", 0)
        i, f = sigmoid(a[:, :H] + p_i * c), sigmoid(a[:, H : 2 * H] + p_f * c)
        c = f * c + i * np.tanh(a[:, 2 * H : 3 * H])
        o = sigmoid(a[:, 3 * H :] + p_o * c)
        h = o * np.tanh(n(c) * p.get("gain_c", 1) + p.get("bias_c", 0))
        h = h @ p["weight_hr"].T if "weight_hr" in p else h
        hs.append(h)
    return np.stack(hs), h, c


EQUATIONS = {"RNN": rnn, "GRU": gru, "LSTM": lstm}
CONFIGURATIONS = [
    *[(kind, {"layer_norm": True}) for kind in EQUATIONS],
    *[(kind, {"recurrent_dropout": 0.5}) for kind in EQUATIONS],
    *[(kind, {"layer_norm": True, "recurrent_dropout": 0.3, "bias": False}) for kind in EQUATIONS],
    ("LSTM", {"peephole": True}),
    ("LSTM", {"peephole": True, "proj_size": P, "bias": False}),
    ("LSTM", {"peephole": True, "proj_size": P, "layer_norm": True, "recurrent_dropout": 0.5}),
]


def drawn_mask(module, shape, p):
    """Return the mask that the next call draws: 0 with probability p, and else 1 / (1 - p)."""
    kept = copy.deepcopy(module.rng).random(shape, dtype=np.float32) >= p
    return kept / (1 - p)


@pytest.mark.parametrize(("kind", "options"), CONFIGURATIONS)
def test_a_layer_is_its_equations(kind, options):
    rng = np.random.default_rng(0)
    module = getattr(nn, kind)(I, H, **options, rng=2, dtype=float)
    for p in module.parameters():  # gains and shifts that are not 1 and 0
        p.data = rng.normal(size=p.shape)
    state = [leaf(rng.normal(size=(1, B, n))) for n in module.sizes.values()]
    x, width = leaf(rng.normal(size=(T, B, I))), module.sizes["h"]
    mask = drawn_mask(module, (B, width), options.get("recurrent_dropout", 0))
    assert len(np.unique(mask)) == (2 if options.get("recurrent_dropout") else 1)
    out = module(x, tuple(state) if len(state) > 1 else state[0])
    hs, last = out[0], out[1] if len(state) > 1 else (out[1],)
    weights = [rng.normal(size=z.shape) for z in (hs, *last)]
    sum([(z * w).sum() for z, w in zip((hs, *last), weights, strict=True)]).backward()

    arrays = {name.removesuffix("_l0"): p.data for name, p in module.named_parameters()}
    arrays |= {"x": x.data} | {f"s{k}": s.data for k, s in enumerate(state)}
    found = {name.removesuffix("_l0"): p.grad for name, p in module.named_parameters()}
    found |= {"x": x.grad} | {f"s{k}": s.grad for k, s in enumerate(state)}

    def computed():
        first = [arrays[f"s{k}"][0] for k in range(len(state))]
        normed = options.get("layer_norm", False)
        hs, *last = EQUATIONS[kind](arrays, arrays["x"], *first, mask, normed)
        return [hs, *[s[None] for s in last]]

    for z, y in zip((hs, *last), computed(), strict=True):
        np.testing.assert_allclose(z.data, y, rtol=1e-10, atol=1e-13)

    def loss():
        return sum([(y * w).sum() for y, w in zip(computed(), weights, strict=True)])

    e = 1e-6
    for name, a in arrays.items():
        slopes = np.zeros_like(a)
        for k in np.ndindex(a.shape):
            arrays[name] = a + e * (
                np.arange(a.size).reshape(a.shape) == np.ravel_multi_index(k, a.shape)
            )
            up = loss()
            arrays[name] = 2 * a - arrays[name]
            slopes[k] = (up - loss()) / (2 * e)
        arrays[name] = a
        np.testing.assert_allclose(found[name], slopes, rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LSTM", {"peephole": True, "layer_norm": True}),
        ("GRU", {"layer_norm": True}), ("RNN", {"layer_norm": True, "nonlinearity": "relu"}),
    ],
)  # fmt: skip
def test_a_cell_is_a_layer_of_one_step(kind, options):
    rng = np.random.default_rng(0)
    cell = getattr(nn, kind + "Cell")(I, H, **options, rng=1, dtype=float)
    layer = getattr(nn, kind)(I, H, **options, dtype=float)
    layer.load_state_dict({name + "_l0": a for name, a in cell.state_dict().items()})
    x, state = rng.normal(size=(B, I)), [rng.normal(size=(B, H)) for _ in cell.sizes]
    one = cell(x, tuple(state) if len(state) > 1 else state[0])
    above = [s[None] for s in state]
    _, last = layer(x[None], tuple(above) if len(state) > 1 else above[0])
    pairs = [(one, last)] if len(state) == 1 else zip(one, last, strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a.data, b.data[0])


# ---- dropout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EQUATIONS)
def test_dropout_is_between_the_layers(kind):
    layer = getattr(nn, kind)
    both = layer(I, H, 2, dropout=0.5, rng=0, dtype=float)
    first, second = layer(I, H, dtype=float), layer(H, H, dtype=float)
    for k, one in enumerate((first, second)):
        own = {n: a for n, a in both.state_dict().items() if n.endswith(f"_l{k}")}
        one.load_state_dict({name[:-1] + "0": a for name, a in own.items()})
    x = np.random.default_rng(0).normal(size=(T, B, I))
    mask = drawn_mask(both, (T, B, H), 0.5)
    np.testing.assert_array_equal(both(x)[0].data, second(first(x)[0] * mask)[0].data)
    np.testing.assert_array_equal(both.eval()(x)[0].data, second(first(x)[0])[0].data)


@pytest.mark.parametrize("kind", EQUATIONS)
def test_no_dropout_in_evaluation(kind):
    module = getattr(nn, kind)(I, H, recurrent_dropout=0.5, rng=0)
    plain = getattr(nn, kind)(I, H)
    plain.load_state_dict(module.state_dict())
    x = np.ones((T, B, I), np.float32)
    assert (module(x)[0].data != plain(x)[0].data).any()
    assert (module(x)[0].data != module(x)[0].data).any()  # each call draws its own
    np.testing.assert_array_equal(module.eval()(x)[0].data, plain(x)[0].data)


def test_every_layer_and_direction_has_its_own_mask():
    """Which is that of a sequence, however long it is, and whatever stands beside it."""
    module = nn.LSTM(I, H, 2, bidirectional=True, recurrent_dropout=0.5, rng=0, dtype=float)
    rng, masks = copy.deepcopy(module.rng), []
    for _ in range(4):
        masks.append((rng.random((B, H), dtype=np.float32) >= 0.5) * 2)
    drawn = copy.deepcopy(module.rng)
    x = np.random.default_rng(0).normal(size=(T, B, I))
    got, _ = module(x, lengths=[2, T, 3])
    assert module.rng.random() == rng.random()

    module.rng = drawn
    p = module.state_dict()
    wanted = np.zeros((T, B, 2 * H))
    for b, n in enumerate([2, T, 3]):
        y = x[:n, b : b + 1]
        for k in range(2):
            sides = []
            for d, end in enumerate([f"_l{k}", f"_l{k}_reverse"]):
                own = {name.removesuffix(end): a for name, a in p.items() if name.endswith(end)}
                zero, mask = np.zeros((1, H)), masks[2 * k + d][b : b + 1]
                hs, *_ = lstm(own, y[::-1] if d else y, zero, zero, mask, False)
                sides.append(hs[::-1] if d else hs)
            y = np.concatenate(sides, axis=-1)
        wanted[:n, b] = y[:, 0]
    np.testing.assert_allclose(got.data, wanted, rtol=1e-10, atol=1e-13)


# ---- the forget gate -----------------------------------------------------------------------------


def test_the_forget_gate_begins_open():
    """In every layer and direction, by the sum of the two biases."""
    module = nn.LSTM(I, H, 2, bidirectional=True, forget_bias=1.0)
    state = module.state_dict()
    for end in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        total = state["bias_ih" + end] + state["bias_hh" + end]
        np.testing.assert_array_equal(total[H : 2 * H], np.ones(H))
        assert abs(total[:H]).max() < 2 * H**-0.5
        assert np.unique(total).size > 3 * H
