"""What many tests begin with."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

import minigrad as mg


def leaf(values, dtype=np.float64, **options):
    """A tensor that requires gradients: a copy of `values`, in float64 unless said otherwise."""
    return mg.tensor(np.array(values, dtype), requires_grad=True, **options)


def ramp(*shape, name=None):
    """A leaf of this shape, whose elements go from -1 to 1 in even steps."""
    return leaf(np.linspace(-1, 1, int(np.prod(shape))).reshape(shape), name=name)


def in_threads(*calls):
    """Call all at once, each in its own thread; list what they return, raise what one raises."""
    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(call) for call in calls]
    return [call.result() for call in running]
