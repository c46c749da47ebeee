"""Kernels run by Python: slowly, without compilation, and with every access to memory checked.

An access outside an array is an error, and so are two pointers of one function that see the same
memory, if one of them writes there: the compiler has been told that this does not happen.
"""

import math

import numpy as np


class Pointer:
    def __init__(self, memory, start, dtype):
        self.memory, self.start = memory, start
        self.elements = memory.view(dtype)
        self.dtype = np.dtype(dtype)

    def index(self, k):
        index = self.start + k
        assert 0 <= index < self.elements.size, (index, self.elements.size)
        return index


class Memory:
    """What the functions of `support` are here; `seen` is who touched what since `unaliased()`."""

    def __init__(self):
        self.seen = {}

    def touch(self, pointer, index, writes):
        size = pointer.dtype.itemsize
        address = pointer.elements.__array_interface__["data"][0] + index * size
        who, wrote = self.seen.setdefault(address, (pointer, writes))
        assert who is pointer or not (writes or wrote), "two pointers see the same memory"
        self.seen[address] = who, wrote or writes

    def unaliased(self):
        self.seen = {}

    def at(self, pointer, k):
        index = pointer.index(k)
        self.touch(pointer, index, False)
        return pointer.elements[index]

    def put(self, pointer, k, value):
        index = pointer.index(k)
        assert np.asarray(value).dtype == pointer.dtype, (np.asarray(value).dtype, pointer.dtype)
        self.touch(pointer, index, True)
        pointer.elements[index] = value

    def names(self):
        types = {"f4": np.float32, "f8": np.float64, "i8": np.int64, "b1": np.bool_}
        functions = {
            "at": self.at, "put": self.put, "unaliased": self.unaliased, "math": _Math, "np": np,
            "pointer": pointer, "moved": moved, "real": real, "gemm": gemm, "min": min,
            "plus": lambda x, y: x + y, "largest": np.maximum, "smallest": np.minimum,
            "nopython": lambda f: f,
        }  # fmt: skip
        for kind, dtype in (("f4", np.float32), ("f8", np.float64)):
            functions |= {f"{f.__name__}_{kind}": f for f in (np.exp, np.log, np.tanh)}
            one = dtype(1)
            functions[f"sigmoid_{kind}"] = lambda x, one=one: one / (one + np.exp(-x))
        return types | functions


class _Math:
    """Functions that keep the dtype, as they do in kernels."""


for _name, _function in {
    "sqrt": np.sqrt, "expm1": np.expm1, "log1p": np.log1p, "sin": np.sin, "cos": np.cos,
    "tan": np.tan, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "asin": np.arcsin,
    "acos": np.arccos, "asinh": np.arcsinh, "hypot": np.hypot,
    "erf": lambda x: type(x)(math.erf(x)), "erfc": lambda x: type(x)(math.erfc(x)),
}.items():  # fmt: skip
    setattr(_Math, _name, staticmethod(_function))


def pointer(array, start, dtype):
    memory = array.reshape(-1).view(np.uint8)[start:]
    size = np.dtype(dtype).itemsize
    return Pointer(memory[: memory.size // size * size], 0, dtype)


def moved(p, k):
    return Pointer(p.memory, p.start + k, p.dtype)


def real(p, k):
    return p.elements[p.index(k)].view(np.float64)


def gemm(turn_a, turn_b, m, n, k, a, first_a, lda, b, first_b, ldb, c, first_c, ldc):
    def matrix(turn, p, first, lead, rows, columns):
        if turn:
            return matrix(0, p, first, lead, columns, rows).T
        assert lead >= columns
        index = p.index(first) + np.arange(rows)[:, None] * lead + np.arange(columns)
        assert index.max() < p.elements.size
        start = index[0, 0]
        size = p.elements.itemsize
        return np.lib.stride_tricks.as_strided(
            p.elements[start:], (rows, columns), (lead * size, size)
        )

    left, right = matrix(turn_a, a, first_a, lda, m, k), matrix(turn_b, b, first_b, ldb, k, n)
    out = matrix(0, c, first_c, ldc, m, n)
    assert not np.shares_memory(out, left)
    assert not np.shares_memory(out, right)
    out[...] = left @ right


def interpreted(source, kinds):
    """Return the function `kernel` of a source, as `disk.compiled` does."""
    names = Memory().names()
    head, body = source.split("\n", 1)
    assert head == "from minigrad.compiler.numba.support import *"
    exec(compile(body, "<kernel>", "exec"), names)
    kernel = names["kernel"]

    def checked(numbers, constants, workspace, *arrays):
        for a, (dtype, ndim) in zip(arrays, kinds, strict=True):
            assert (a.dtype, a.ndim) == (dtype, ndim)
            assert a.flags.carray
        with np.errstate(all="ignore"):
            kernel(numbers, constants, workspace, *arrays)

    return checked
