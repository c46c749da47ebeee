"""Fourier transforms of real signals: see `minigrad.ops.fft`, where they are stated."""

from .ops.fft import Spectrum, fftshift, ifftshift, irfft, rfft

__all__ = ["Spectrum", "fftshift", "ifftshift", "irfft", "rfft"]
