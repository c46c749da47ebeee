"""Layer normalization (Ba et al., 2016, equation 4) of the rows, then a weighted sum."""

import numpy as np

from .catalogue import mistakes, sizes


def draw(rng, dtype=np.float64, kind="usual"):
    B, D = sizes(rng, kind, usual=(3, 6), square=(5, 5))
    shapes = {"x": (B, D), "gain": (D,), "bias": (D,), "r": (B, D)}
    return {name: rng.normal(size=s).astype(dtype) for name, s in shapes.items()}


def forward(p):
    mu = np.mean(p["x"], axis=1, keepdims=True)
    xc = p["x"] - mu
    var = np.mean(xc**2, axis=1, keepdims=True)
    sd = np.sqrt(var + 1e-5)
    xn = xc / sd
    out = xn * p["gain"] + p["bias"]
    return np.sum(out * p["r"])


def backward(p):
    x, gain, r = p["x"], p["gain"], p["r"]
    xc = x - x.mean(1, keepdims=True)
    sd = np.sqrt((xc**2).mean(1, keepdims=True) + 1e-5)
    xn = xc / sd
    D = x.shape[1]
    dr = xn * gain + p["bias"]
    dout = r
    dbias = dout.sum(0)
    dgain = (dout * xn).sum(0)
    dxn = dout * gain
    dsd = -(dxn * xc / sd**2).sum(1, keepdims=True)
    dvar = dsd / (2 * sd)
    dxc = dxn / sd
    dxc = dxc + dvar * 2 * xc / D
    dmu = -dxc.sum(1, keepdims=True)
    dx = dxc + dmu / D
    return {"x": dx, "gain": dgain, "bias": dbias, "r": dr}


MISTAKES = mistakes("""
dx = dxc + dmu / D -> dx = dxc | missing term | mu = or xc =
dx = dxc + dmu / D -> dx = dxc + dmu | factor, derivative left out | mu =
dmu = -dxc -> dmu = dxc | sign | xc =
dmu = -dxc.sum(1 -> dmu = -dxc.sum(0 | broadcast | xc =
dxc + dvar * 2 * xc / D -> dxc | missing term | var = or sd = or xn =
dxc = dxc + dvar * 2 -> dxc += dxc + dvar * 2 | counted twice, factor | xn =
dvar * 2 * xc / D -> dvar * xc / D | factor, wrong derivative | var =
dvar * 2 * xc / D -> dvar * 2 * xc | factor | var =
dvar * 2 * xc / D -> dvar * 2 * xn / D | swapped operand, wrong derivative | var =
dsd / (2 * sd) -> dsd / sd | factor, wrong derivative | sd =
dsd / (2 * sd) -> dsd | derivative left out | sd =
dsd / (2 * sd) -> dsd * sd / 2 | wrong derivative | sd =
-(dxn * xc / sd**2) -> (dxn * xc / sd**2) | sign | xn =
-(dxn * xc / sd**2) -> -(dxn * xc / sd) | wrong derivative | xn =
-(dxn * xc / sd**2) -> -(dxn / sd**2) | wrong derivative | xn =
dxc = dxn / sd -> dxc = dxn | derivative left out | xn =
dxc = dxn / sd -> dxc = dxn * sd | wrong derivative, swapped operand | xn =
xn = xc / sd -> xn = xc; xn /= sd | overwritten, swapped operand | xn = or var =
dout * gain -> dout | derivative left out | out =
(dout * xn).sum(0) -> (dout * xc).sum(0) | swapped operand | out =
(dout * xn).sum(0) -> dout.sum(0) | derivative left out | out =
dbias = dout.sum(0) -> dbias = dout.mean(0) | factor, broadcast | out =
dbias = dout.sum(0) -> dbias = dout.sum(1) | broadcast | out = | square
""")
