"""What kernels do that Python cannot say: memory by pointers, bits of numbers, sums in any order.

Kernels (see `kernels`) run on pointers, not on arrays, so that an access is one instruction, with
no check and no wrapping of negative indices, and so that LLVM can be told that no two overlap.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "at", "bits", "fma", "largest", "moved", "nopython", "plus", "pointer", "put", "real",
    "smallest", "unaliased",
]  # fmt: skip

nopython = numba.njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Compiles a function for kernels; a division by 0 is NumPy's, and needs no branch."""


@intrinsic
def unaliased(typing: Any) -> Any:
    """State that no pointer that the function is called with overlaps another."""

    def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for arg in builder.function.args:
            if isinstance(arg.type, ir.PointerType):
                arg.add_attribute("noalias")
        return context.get_dummy_value()

    return types.void(), lowered


@intrinsic
def pointer(typing: Any, array: Any, start: Any, dtype: Any) -> Any:
    """Return the pointer to an array of `dtype`, `start` bytes behind where an array begins."""
    to = types.CPointer(dtype.dtype)

    def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, args[0]).data
        moved = builder.gep(builder.bitcast(data, cgutils.voidptr_t), [args[1]])
        return builder.bitcast(moved, context.get_value_type(to))

    return to(array, types.int64, dtype), lowered


@intrinsic
def at(typing: Any, p: Any, k: Any) -> Any:
    """Return the k-th element behind a pointer."""

    def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.unpack_value(builder, p.dtype, builder.gep(args[0], [args[1]], True))

    return p.dtype(p, types.int64), lowered


@intrinsic
def put(typing: Any, p: Any, k: Any, value: Any) -> Any:
    """Write the k-th element behind a pointer."""

    def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        context.pack_value(builder, p.dtype, args[2], builder.gep(args[0], [args[1]], True))
        return context.get_dummy_value()

    return types.void(p, types.int64, p.dtype), lowered


@intrinsic
def moved(typing: Any, p: Any, k: Any) -> Any:
    """Return the pointer to the k-th element behind a pointer."""

    def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return p(p, types.int64), lowered


@intrinsic
def real(typing: Any, p: Any, k: Any) -> Any:
    """Return the k-th of the integers that a kernel is given as the float64 of its bits."""

    def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = builder.load(builder.gep(args[0], [args[1]], True))
        return builder.bitcast(whole, ir.DoubleType())

    return types.float64(p, types.int64), lowered


@intrinsic
def bits(typing: Any, x: Any) -> Any:
    """Return the bits of a float as an integer of its size, or the float of such bits."""
    pairs = {types.float32: types.int32, types.float64: types.int64}
    to = {**pairs, **{i: f for f, i in pairs.items()}}[x]

    def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(to))

    return to(x), lowered


@intrinsic
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """Return x y + z, rounded once where the processor does that as fast."""

    def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        of_three = ir.FunctionType(kind, [kind] * 3)
        function = builder.module.declare_intrinsic("llvm.fmuladd", [kind], of_three)
        return builder.call(function, args)

    return x(x, x, x), lowered


@intrinsic
def plus(typing: Any, x: Any, y: Any) -> Any:
    """Return x + y, a part of a sum in any order: so that many parts are added at once."""

    def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if isinstance(x, types.Integer):
            return builder.add(*args)
        return builder.fadd(*args, flags=["reassoc", "nsz"])

    return x(x, x), lowered


def _extreme(name: str) -> Any:
    def typed(typing: Any, x: Any, y: Any) -> Any:
        def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            if isinstance(x, types.Integer):
                smaller = builder.icmp_signed("<", *args)
                order = args if name == "minimum" else args[::-1]
                return builder.select(smaller, *order)
            kind = args[0].type
            of_two = ir.FunctionType(kind, [kind] * 2)
            function = builder.module.declare_intrinsic(f"llvm.{name}", [kind], of_two)
            return builder.call(function, args)

        return x(x, x), lowered

    return intrinsic(typed)


largest, smallest = _extreme("maximum"), _extreme("minimum")
"""Return the larger, or the smaller, of two numbers; NaN if one of them is."""
