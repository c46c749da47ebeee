"""What kernels know of elementwise functions: each as an expression of numbers.

In an expression, {0}, {1} are the operands, and @ is the dtype that is computed in: `exp_@({0})`
is `exp_f4(x)`, and `@(1)` is `f4(1)`. What is not here is left to Python.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core.primitive import Primitive
from ...ops import elementwise as e
from ...ops.shape import converted
from ...ops.special import erf, erfc, gelu

__all__ = ["expression", "key_of"]

_ROOTS: Mapping[Any, Any] = {2: "{0} * {0}", 3: "{0} * {0} * {0}", 1: "{0}", 0.5: "math.sqrt({0})",
                             -1: "@(1) / {0}", -2: "@(1) / ({0} * {0})"}  # fmt: skip

_SIGN = "{0} if {0} != {0} else @({0} > @(0)) - @({0} < @(0))"

# Of numbers that are floating; those of ANY may be integers, too.
ANY: dict[Any, str] = {
    np.add: "{0} + {1}", np.subtract: "{0} - {1}", np.multiply: "{0} * {1}", np.negative: "-{0}",
    np.positive: "{0}", np.copy: "{0}", np.ascontiguousarray: "{0}", np.square: "{0} * {0}",
    np.absolute: "abs({0})",
    np.maximum: "largest({0}, {1})", np.minimum: "smallest({0}, {1})",
    np.conjugate: "{0}", converted.key: "{0}", np.zeros_like: "@(0)", np.ones_like: "@(1)",
    e._clip: "smallest(largest({0}, {1}), {2})", e.relu.key: "largest({0}, @(0))",
    operator.neg: "-{0}", operator.add: "{0} + {1}", operator.sub: "{0} - {1}",
    operator.mul: "{0} * {1}", np.clip: "smallest(largest({0}, {1}), {2})",
}  # fmt: skip
FLOATING: dict[Any, str] = {
    np.divide: "{0} / {1}", operator.truediv: "{0} / {1}", np.reciprocal: "@(1) / {0}",
    np.fabs: "abs({0})", np.sqrt: "math.sqrt({0})",
    np.exp: "exp_@({0})", np.log: "log_@({0})", np.tanh: "tanh_@({0})",
    np.expm1: "math.expm1({0})", np.log1p: "math.log1p({0})",
    np.sin: "math.sin({0})", np.cos: "math.cos({0})", np.tan: "math.tan({0})",
    np.arctan: "math.atan({0})", np.sinh: "math.sinh({0})", np.cosh: "math.cosh({0})",
    np.arcsin: "math.asin({0})", np.arccos: "math.acos({0})", np.arcsinh: "math.asinh({0})",
    np.hypot: "math.hypot({0}, {1})",
    np.sign: _SIGN, e._side: _SIGN, np.floor: "np.floor({0})", np.ceil: "np.ceil({0})",
    np.trunc: "np.trunc({0})", np.rint: "np.rint({0})",
    e._over: "{0} / ({1} if {1} != @(0) else @(np.inf))",
    e.sigmoid.key: "sigmoid_@({0})", e.silu.key: "{0} * sigmoid_@({0})",
    gelu.key: "{0} * (@(0.5) * math.erfc({0} * @(-0.7071067811865476)))",
    erf.key: "math.erf({0})", erfc.key: "math.erfc({0})",
    e.softplus.key: "largest({0}, @(0)) + math.log1p(exp_@(-abs({0})))",
    e.log_sigmoid.key: "smallest({0}, @(0)) - math.log1p(exp_@(-abs({0})))",
}  # fmt: skip
COMPARISONS: dict[Any, str] = {
    np.less: "{0} < {1}", np.less_equal: "{0} <= {1}", np.greater: "{0} > {1}",
    np.greater_equal: "{0} >= {1}", np.equal: "{0} == {1}", np.not_equal: "{0} != {1}",
    operator.lt: "{0} < {1}", operator.le: "{0} <= {1}", operator.gt: "{0} > {1}",
    operator.ge: "{0} >= {1}", operator.eq: "{0} == {1}", operator.ne: "{0} != {1}",
    np.isnan: "{0} != {0}", np.isfinite: "abs({0}) < @(np.inf)", np.isinf: "abs({0}) == @(np.inf)",
}  # fmt: skip
LOGICAL: dict[Any, str] = {
    np.logical_and: "{0} & {1}", np.logical_or: "{0} | {1}", np.logical_xor: "{0} != {1}",
    np.bitwise_and: "{0} & {1}", np.bitwise_or: "{0} | {1}", np.bitwise_xor: "{0} != {1}",
    np.logical_not: "not {0}", np.invert: "not {0}", operator.invert: "not {0}",
    operator.and_: "{0} & {1}", operator.or_: "{0} | {1}", operator.xor: "{0} != {1}",
}  # fmt: skip
CHOICE = (e._where, np.where)
_PARAMETERS: dict[Any, Callable[..., str]] = {
    e._elu: lambda alpha=1.0: f"{{0}} if {{0}} > @(0) else @({alpha!r}) * math.expm1({{0}})",
    e._leaky_relu: lambda slope=0.01, negative_slope=None: (
        "{0} if {0} > @(0) else "
        f"@({slope if negative_slope is None else negative_slope!r}) * {{0}}"
    ),
}
for _does in (e.elu, e.leaky_relu):
    _PARAMETERS[_does.key] = _PARAMETERS[_does.forward]


def key_of(does: Any) -> Any:
    """Return the function that a primitive stands for, or that a `Function` calls."""
    return does.key if isinstance(does, Primitive) else does.forward


def expression(does: Any, numbers: list[Any], params: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return an expression, and its kind: any, floating, comparison, logical or choice; or None.

    `numbers` are the operands that are Python numbers, and None for those that are not.
    """
    key = key_of(does)
    if key is np.power and len(numbers) == 2:
        if isinstance(numbers[1], (int, float)) and numbers[1] in _ROOTS:
            return _ROOTS[numbers[1]], "floating"
        return "{0} ** {1}", "floating"
    if key in _PARAMETERS and all(isinstance(v, (int, float)) for v in params.values()):
        return _PARAMETERS[key](**params), "floating"
    if params and key is not converted.key:
        return None
    if key in CHOICE:
        return "{1} if {0} else {2}", "choice"
    for table, kind in (
        (ANY, "any"), (FLOATING, "floating"), (COMPARISONS, "comparison"), (LOGICAL, "logical")
    ):  # fmt: skip
        if key in table:
            return table[key], kind
    return None
