"""The names that the source of kernels uses."""

from __future__ import annotations

import math

import numpy as np

from .approximations import FLOAT32, FLOAT64
from .blas import found, gemm_of
from .native import (
    at,
    bits,
    fma,
    largest,
    moved,
    nopython,
    plus,
    pointer,
    put,
    real,
    smallest,
    unaliased,
)

f4, f8, i8, b1 = np.float32, np.float64, np.int64, np.bool_
exp_f4, tanh_f4, sigmoid_f4, log_f4 = FLOAT32
exp_f8, tanh_f8, sigmoid_f8, log_f8 = FLOAT64
_blas = found()
gemm = gemm_of(_blas) if _blas else None


__all__ = [
    "at", "b1", "bits", "exp_f4", "exp_f8", "f4", "f8", "fma", "gemm", "i8", "largest", "log_f4",
    "log_f8", "math", "moved", "nopython", "np", "plus", "pointer", "put", "real", "sigmoid_f4",
    "sigmoid_f8", "smallest", "tanh_f4", "tanh_f8", "unaliased",
]  # fmt: skip
