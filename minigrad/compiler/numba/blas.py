"""The matrix product of the BLAS that NumPy itself is built with, for kernels.

A second BLAS beside NumPy's would have threads of its own, which make both slow. NumPy's is found
by asking its extension module for the function: the dynamic linker also looks in what that is
linked to, so no path is guessed. The suffix says how long its integers are. Where it is not found
(Accelerate, MKL, Windows), products stay in Python.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Blas", "found", "gemm_of"]

_NAMES = (("scipy_cblas_{}gemm64_", 64), ("cblas_{}gemm64_", 64), ("scipy_cblas_{}gemm", 32),
          ("cblas_{}gemm", 32))  # fmt: skip
_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112


class Blas(NamedTuple):
    """Where the products are, of float32 and of float64, and how many bits its integers have."""

    name: str
    single: int
    double: int
    bits: int


def _library() -> Any:
    return ctypes.CDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined]


@functools.cache
def found() -> Blas | None:
    """Return NumPy's BLAS, tried on a product of 2 x 3 numbers; None where it is not found."""
    try:
        library = _library()
    except (OSError, AttributeError):
        return None
    for name, bits in _NAMES:
        try:
            functions = [getattr(library, name.format(letter)) for letter in "sd"]
        except AttributeError:
            continue
        single, double = [ctypes.cast(f, ctypes.c_void_p).value or 0 for f in functions]
        blas = Blas(name.format("*"), single, double, bits)
        return blas if _is_right(blas) else None
    return None


def _is_right(blas: Blas) -> bool:
    """Return whether a product of matrices of 2 x 3 and 3 x 2, the second transposed, is right."""
    whole = ctypes.c_int64 if blas.bits == 64 else ctypes.c_int32
    for dtype, number, address in (
        (np.float32, ctypes.c_float, blas.single),
        (np.float64, ctypes.c_double, blas.double),
    ):
        kinds = [ctypes.c_int] * 3 + [whole] * 3 + [number, ctypes.c_void_p, whole]
        kinds += [ctypes.c_void_p, whole, number, ctypes.c_void_p, whole]
        gemm = ctypes.CFUNCTYPE(None, *kinds)(address)
        a, b = np.arange(6, dtype=dtype).reshape(2, 3), np.arange(6, dtype=dtype).reshape(2, 3) - 2
        c = np.zeros((2, 2), dtype)
        ends = a.ctypes.data, 3, b.ctypes.data, 3, 0.0, c.ctypes.data, 2
        gemm(_ROW_MAJOR, _PLAIN, _TRANSPOSED, 2, 2, 3, 1.0, *ends)
        if not np.array_equal(c, [[-1.0, 8.0], [-10.0, 26.0]]):
            return False
    return True


@functools.cache
def gemm_of(blas: Blas) -> Any:
    """Return `gemm(turn_a, turn_b, m, n, k, a, first, lda, b, first, ldb, c, first, ldc)`.

    For kernels: c = a b, of pointers and where the matrices begin behind them; `turn_a` is 1 where
    a is stored with its axes turned, else 0. Unlike a function of ctypes, it can be kept in a file.
    """
    import llvmlite.binding
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    llvmlite.binding.add_symbol("minigrad_sgemm", blas.single)
    llvmlite.binding.add_symbol("minigrad_dgemm", blas.double)
    whole: Any = ir.IntType(blas.bits)
    flag: Any = ir.IntType(32)

    @intrinsic
    def gemm(
        typing: Any, turn_a: Any, turn_b: Any, m: Any, n: Any, k: Any, a: Any, first_a: Any,
        lda: Any, b: Any, first_b: Any, ldb: Any, c: Any, first_c: Any, ldc: Any,
    ) -> Any:  # fmt: skip
        def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            number = context.get_value_type(c.dtype)
            given = [flag] * 3 + [whole] * 3 + [number, of, whole, of, whole, number, of, whole]
            name = "minigrad_sgemm" if c.dtype is types.float32 else "minigrad_dgemm"
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), given), name
            )
            size: Any = lambda x: builder.trunc(x, whole) if blas.bits == 32 else x
            plain, turned = flag(_PLAIN), flag(_TRANSPOSED)
            turns = [
                builder.select(builder.icmp_signed("!=", x, x.type(0)), turned, plain)
                for x in args[:2]
            ]
            m, n, k, a, first_a, lda, b, first_b, ldb, c_, first_c, ldc = args[2:]
            call = [flag(_ROW_MAJOR), *turns, size(m), size(n), size(k), number(1.0)]
            call += [builder.gep(a, [first_a]), size(lda), builder.gep(b, [first_b]), size(ldb)]
            call += [number(0.0), builder.gep(c_, [first_c]), size(ldc)]
            builder.call(function, call)
            return context.get_dummy_value()

        of = ir.PointerType(ir.FloatType() if c.dtype is types.float32 else ir.DoubleType())
        i8 = types.int64
        return types.void(i8, i8, i8, i8, i8, a, i8, i8, b, i8, i8, c, i8, i8), lowered

    return gemm
