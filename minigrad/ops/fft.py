"""Fourier transforms of real signals; public as `minigrad.fft`.

Tensors hold real numbers, so a spectrum is a pair of tensors, its real and its imaginary part, and
every derivative is the ordinary real one by each of them: no convention for complex derivatives is
needed. `rfft` and `irfft` are NumPy's, with such pairs for the complex arrays:

    >>> x = np.array([1.0, 2.0, 0.0, 0.0])
    >>> spectrum = rfft(x)
    >>> spectrum.real.tolist(), spectrum.imag.tolist()
    ([3.0, 1.0, -1.0], [0.0, -2.0, 0.0])
    >>> irfft(*spectrum).tolist()
    [1.0, 2.0, 0.0, 0.0]

The numpy.fft functions themselves have complex results and refuse tensors, by name; so do the
eigenvalues of matrices that are not symmetric.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, NamedTuple, NoReturn, TypeAlias, TypeVar

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..core.dtypes import Array
from ..core.primitive import Case, Primitive
from ..core.tensor import OPS, ArrayLike, Tensor, op
from .families import general, linear, operation

__all__ = ["Spectrum", "fftshift", "ifftshift", "irfft", "rfft"]


Part = TypeVar("Part")
Axes: TypeAlias = int | Sequence[int] | None
"""One axis, several, or all (None)."""

Norm: TypeAlias = Literal["backward", "ortho", "forward"] | None
"""Which direction divides by n: the inverse ("backward", None), both by its root, the transform."""


class Spectrum(NamedTuple, Generic[Part]):
    """The real and the imaginary part of a spectrum, at frequencies 0 to n // 2."""

    real: Part
    imag: Part


_TRANSPOSED: dict[Norm, Norm] = {
    None: "forward",
    "backward": "forward",
    "forward": "backward",
    "ortho": "ortho",
}


def _multiplicity(z: Any, n: int) -> Any:
    """Return how often each frequency is in the full spectrum: twice, but for 0 and n / 2 once."""
    k = np.arange(n // 2 + 1)
    return np.where((k == 0) | (2 * k == n), 1, 2).astype(z.dtype)


def _real_spectrum(a: Array, *, norm: Norm = None) -> Spectrum[Array]:
    """Spectrum of real signals along the last axis."""
    z = np.fft.rfft(a, norm=norm)
    return Spectrum(z.real.copy(), z.imag.copy())


def _real_signal(real: Array, imag: Array, *, n: int, norm: Norm = None) -> Any:
    """Signals of length n along the last axis, from their spectrum."""
    return np.fft.irfft(real + 1j * imag, n=n, norm=norm)


def _pull_rfft(g: Any, z: Any, a: Any, norm: Norm = None) -> Any:
    n = a.shape[-1]
    real, imag = (part / _multiplicity(part, n) for part in g)
    return _signal.like_numpy(real, imag, n=n, norm=_TRANSPOSED[norm])


def _pull_irfft(part: int) -> Callable[..., Any]:
    def pull(g: Any, z: Any, real: Any, imag: Any, n: int, norm: Norm = None) -> Any:
        return _spectrum.like_numpy(g, norm=_TRANSPOSED[norm])[part] * _multiplicity(g, n)

    return pull


_spectrum: Primitive = general(
    _real_spectrum,
    pulls=[_pull_rfft],
    pushes=[lambda da, z, a, norm=None: _spectrum.like_numpy(da, norm=norm)],
    samples=lambda r: [
        Case.of(r(4)),
        Case.of(r(2, 5)),
        Case.of(r(6), norm="ortho"),
        Case.of(r(3), norm="forward"),
        Case.of(r(1)),
    ],
)
_signal: Primitive = linear(
    _real_signal,
    _pull_irfft(0),
    _pull_irfft(1),
    samples=lambda r: [
        Case.of(r(3), r(3), n=4),
        Case.of(r(2, 3), r(2, 3), n=5),
        Case.of(r(4), r(4), n=6, norm="ortho"),
        Case.of(r(2), r(2), n=3, norm="forward"),
        Case.of(r(1), r(1), n=1),
    ],
)


def _axis_last(a: ArrayLike, axis: int, length: int | None) -> Tensor:
    """Return `a` with an axis moved to the end, and cut or filled with zeros to a length."""
    x = op(np.moveaxis)(a, axis, -1)
    length = x.shape[-1] if length is None else length
    short = length - x.shape[-1]
    if short > 0:
        return op(np.concatenate)((x, np.zeros((*x.shape[:-1], short), x.dtype)), axis=-1)
    return x[..., :length] if short else x


@operation(
    "rfft",
    lambda r: [Case.of(r(5), n=4), Case.of(r(3, 2), n=4, axis=0), Case.of(r(2, 3), norm="ortho")],
)
def rfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: Norm = None) -> Spectrum[Tensor]:
    """Spectrum of a real signal, `numpy.fft.rfft` as the pair (real, imag).

    >>> rfft(np.ones(4)).real.tolist()
    [4.0, 0.0, 0.0]
    """
    real, imag = _spectrum(_axis_last(a, axis, n), norm=norm)
    return Spectrum(op(np.moveaxis)(real, -1, axis), op(np.moveaxis)(imag, -1, axis))


@operation(
    "irfft",
    lambda r: [
        Case.of(r(3), r(3)),
        Case.of(r(3), r(3), n=3),
        Case.of(r(2, 2), r(2, 2), n=6, axis=0, norm="forward"),
    ],
)
def irfft(
    real: ArrayLike, imag: ArrayLike, n: int | None = None, axis: int = -1, norm: Norm = None
) -> Tensor:
    """Real signal of length n (left out: even, 2 (frequencies - 1)) with the spectrum (real, imag)."""
    n = 2 * (np.shape(real)[axis] - 1) if n is None else n
    parts = [_axis_last(part, axis, n // 2 + 1) for part in (real, imag)]
    return op(np.moveaxis)(_signal(*parts, n=n, norm=norm), -1, axis)


def _shifts(x: ArrayLike, axes: Axes) -> tuple[list[int], list[int]]:
    """Return by how much the axes are shifted, half their lengths, and the axes."""
    axes = normalize_axis_tuple(range(np.ndim(x)) if axes is None else axes, np.ndim(x))
    return [np.shape(x)[k] // 2 for k in axes], list(axes)


@operation(np.fft.fftshift, lambda r: [Case.of(r(5)), Case.of(r(2, 3), axes=-1)])
def fftshift(x: ArrayLike, axes: Axes = None) -> Tensor:
    """Move the zero frequency of a full spectrum to the middle."""
    shifts, axes = _shifts(x, axes)
    return op(np.roll)(x, shifts, axes)


@operation(np.fft.ifftshift, lambda r: [Case.of(r(5)), Case.of(r(2, 3), axes=(0, 1))])
def ifftshift(x: ArrayLike, axes: Axes = None) -> Tensor:
    """Undo `fftshift`."""
    shifts, axes = _shifts(x, axes)
    return op(np.roll)(x, [-k for k in shifts], axes)


# ---- what has complex results --------------------------------------------------------------------------


def _refuse(function: Any, instead: str) -> None:
    """Register that a NumPy function raises TypeError on a tensor, and what to write instead."""

    def refused(*args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            f"{function.__module__}.{function.__name__} works in complex numbers, and tensors hold "
            f"real ones: {instead}, or take the array out of the graph with .data"
        )

    OPS[function] = refused


for _name in (
    "fft", "fft2", "fftn", "hfft", "ifft", "ifft2", "ifftn", "ihfft", "irfft", "irfft2", "irfftn",
    "rfft", "rfft2", "rfftn",
):  # fmt: skip
    _refuse(
        getattr(np.fft, _name),
        "use minigrad.fft.rfft(signal), which gives the pair (real, imag), and its inverse "
        "minigrad.fft.irfft(real, imag)",
    )
for _function in (np.linalg.eig, np.linalg.eigvals):
    _refuse(_function, "use minigrad.linalg.eigh, for symmetric matrices")
