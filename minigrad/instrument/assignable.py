"""Arrays that can be assigned to, as NumPy's can, and that gradients flow through.

`Assignable` is what NumPy code gets for an array that gradients may flow through: a tensor with an
array's face, memory included. Until it is first written to, it is the tensor that it was made with,
and costs little more; from then on a `Memory` stands behind it.

A view is a function on arrays, which NumPy's own view of the values comes from, and from the
array of the elements' numbers which elements those are; and the same function on tensors.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from ..core.dtypes import Array
from ..core.tensor import BASIC, OPS, Tensor, op, plain_index
from ..guard import leaving
from ..guard.errors import users_call
from .memory import Memory, shaped

__all__ = [
    "Assignable", "NotFollowed", "holds_tensor", "into_plain", "is_live", "joined", "now", "plain",
    "recorded", "refused", "wrapped", "written",
]  # fmt: skip

_new = object.__new__
_read: Any = OPS[operator.getitem]


class NotFollowed(TypeError):  # noqa: N818 (it reads as what happened)
    """Gradients cannot be followed through what NumPy code does; it says where, and what to write.

    Raised by functions that `minigrad.numpy_code` makes.
    """


def refused(what: str, instead: str) -> NotFollowed:
    """Return the error that gradients are not followed here, with the user's line."""
    return NotFollowed(f"{what}\n    {users_call()}\n{instead}")


# ---- what stands in the user's variables ---------------------------------------------------------


def wrapped(t: Any) -> Any:
    """Return what NumPy code is to see of a result: floating arrays can be assigned to."""
    if isinstance(t, Tensor):
        if type(t) is Assignable:
            return t
        if t.value.dtype.kind != "f":
            return t.value if t.value.ndim else t.value[()]
        a = _new(Assignable)
        a.node, a.base, a.memory, a.version = t, None, None, 0
        return a
    if isinstance(t, (list, tuple)):
        parts = [wrapped(part) for part in t]
        return t._make(parts) if hasattr(t, "_make") else type(t)(parts)
    if type(t) is np.ndarray and t.dtype.kind == "f":
        return wrapped(Tensor(t))
    return t


def now(x: Any) -> Any:
    """Return the plain tensor that an array is at this moment; anything else as it is."""
    return x.now() if type(x) is Assignable else x


def holds_tensor(x: Any, depth: int = 0) -> bool:
    """Whether this is a tensor, or a list with one in it."""
    if isinstance(x, Tensor):
        return True
    if type(x) not in (list, tuple) or depth > 6:
        return False
    return any(holds_tensor(part, depth + 1) for part in x)


def is_live(x: Any) -> bool:
    """Whether gradients flow through this, or through what its lists hold."""
    if isinstance(x, Tensor):
        return bool(now(x).live)
    return type(x) in (list, tuple) and any(map(is_live, x))


def joined(x: Any) -> Any:
    """Return what is to be used as one array: a list with tensors in it as one tensor."""
    if isinstance(x, (list, tuple)) and holds_tensor(x):
        return op(np.stack)([joined(part) for part in x])
    return now(x)


def recorded(x: Any) -> Any:
    """Return what minigrad is to get: the tensors of this moment, also in containers."""
    if type(x) is Assignable:
        return x.now()
    if type(x) in (list, tuple) and holds_tensor(x):
        return type(x)(map(recorded, x))
    if type(x) is dict:
        return {key: recorded(part) for key, part in x.items()}
    return x


def plain(x: Any) -> Any:
    """Return the values of tensors, also in containers."""
    if isinstance(x, Tensor):
        return x.value if x.value.ndim else x.value[()]
    if type(x) in (list, tuple):
        return type(x)(map(plain, x))
    if type(x) is dict:
        return {key: plain(part) for key, part in x.items()}
    return x


def _operators(name: str) -> tuple[Any, Any, Any]:
    """Make an operator, the one for an array on the right, and the one in place."""
    left, right = getattr(Tensor, f"__{name}__"), getattr(Tensor, f"__r{name}__")

    def of_left(self: Assignable, other: Any) -> Any:
        return wrapped(left(self.now(), now(other) if type(other) is not list else joined(other)))

    def of_right(self: Assignable, other: Any) -> Any:
        return wrapped(right(self.now(), now(other) if type(other) is not list else joined(other)))

    def in_place(self: Assignable, other: Any) -> Any:
        return self.become(left(self.now(), joined(other)))

    return of_left, of_right, in_place


def _method(name: str) -> Any:
    of_tensor = getattr(Tensor, name)

    def method(self: Assignable, *args: Any, **kwargs: Any) -> Any:
        if not _PLAIN_OPTIONS.issuperset(kwargs):
            return getattr(np, name)(self, *args, **kwargs)
        return wrapped(of_tensor(self.now(), *map(joined, args), **recorded(kwargs)))

    method.__name__ = name
    return method


_PLAIN_OPTIONS = {"axis", "keepdims", "ddof"}


def _of_now(name: str) -> Any:
    """Make a method of Tensor's that is none of an array's."""
    return lambda self, *args: getattr(self.now(), name)(*map(now, args))


def _view(name: str) -> Any:
    of_array, of_tensor = getattr(np.ndarray, name), getattr(Tensor, name)

    def method(self: Assignable, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("order", None) if kwargs.get("order") in ("C", "A", "K") else None
        return self.view_by(
            lambda a: of_array(a, *args, **kwargs), lambda t: of_tensor(t, *args, **kwargs)
        )

    method.__name__ = name
    return method


def written(out: Any, result: Any, name: str) -> Any:
    """Write a result where `out=` says, and return that."""
    out = out[0] if isinstance(out, tuple) and len(out) == 1 else out
    if type(out) is Assignable:
        out[...] = result
        return out
    if isinstance(result, Tensor) and not result.live:
        out[...] = result.value
        return out
    raise into_plain(f"by out= of {name}")


def _refuse_storing(frame: Any) -> None:
    if leaving.instruction(frame) == "STORE_SUBSCR":
        raise into_plain("by a[i] = x")


def into_plain(how: str) -> NotFollowed:
    """Return the error that an array from elsewhere cannot be written to."""
    return refused(
        f"what gradients flow through is written {how} into an array that was not made in this "
        "function",
        "make the array there, with np.zeros, np.zeros_like or x.copy()",
    )


class Assignable(Tensor):
    """An array of NumPy code that gradients may flow through; it can be written to.

    `node` is the tensor that it was at `version` of its memory; `base` is the array that it is a
    view of, by `on_array` and `on_tensor` applied to its `parent`. It is a Tensor to be asked first
    by Python's operators; into an operation goes what it is `now`.
    """

    __slots__ = (
        "array", "base", "memory", "node", "numbers_seen", "on_array", "on_tensor", "parent",
        "version",
    )  # fmt: skip

    node: Tensor
    base: Assignable | None
    memory: Memory | None
    parent: Assignable
    on_array: Callable[[Any], Any]
    on_tensor: Callable[[Any], Any]
    version: int
    array: Array
    numbers_seen: Array

    # ---- what it is at this moment -----------------------------------------------------------

    def now(self) -> Tensor:
        """Return the plain tensor of this moment."""
        base = self.base
        memory = self.memory if base is None else base.memory
        if memory is None or self.version == memory.version:
            return self.node
        if base is None:
            t = memory.whole()
        elif memory.owner is None:
            t = self.on_tensor(self.parent.now())
        else:
            t = memory.read(self.numbers, self.value)
        self.node, self.version = t, memory.version
        return t

    @property
    def value(self) -> Any:  # type: ignore[override]
        """The values: live memory, to look at."""
        memory = self.memory if self.base is None else self.base.memory
        if memory is None:
            return self.node.value
        if self.base is None:
            return memory.array
        try:
            return self.array
        except AttributeError:
            self.array = self.on_array(self.parent.value)
            return self.array

    @property
    def numbers(self) -> Array:
        """The numbers, in the memory, of the elements."""
        if self.base is None:
            return self._writable().numbers
        try:
            return self.numbers_seen
        except AttributeError:
            self.numbers_seen = self.on_array(self.parent.numbers)
            return self.numbers_seen

    def _writable(self) -> Memory:
        top = self if self.base is None else self.base
        if top.memory is None:
            top.memory = Memory(top.node)
        return top.memory

    @property
    def live(self) -> bool:  # type: ignore[override]
        """Nobody may ask: an operation would record memory that changes."""
        raise refused(
            "an array of NumPy code comes to an operation of minigrad by a way that is not "
            "followed",
            "call the operation itself in the function",
        )

    primitive = inputs = xs = params = index = scope = live  # type: ignore[assignment]
    is_live = property(lambda self: self.now().live)
    name = property(
        lambda self: self.now().name, lambda self, name: setattr(self.now(), "name", name)
    )
    grad = property(lambda self: self.now().grad)
    at = property(lambda self: self.now().at)
    data = property(lambda self: self.value)
    requires_grad = property(lambda self: self.now().live)
    T = property(lambda self: self.transpose())
    mT = property(lambda self: self.swapaxes(-1, -2))  # noqa: N815
    real = property(lambda self: self)
    imag = property(lambda self: np.zeros(self.shape, self.dtype))
    strides = property(lambda self: self.value.strides)
    itemsize = property(lambda self: self.value.itemsize)
    nbytes = property(lambda self: self.value.nbytes)
    flags = property(lambda self: self.value.flags)

    # ---- views, reading and writing ----------------------------------------------------------

    def view_by(self, on_array: Callable[[Any], Any], on_tensor: Callable[[Any], Any]) -> Any:
        """Return the view that these functions make, or what they give, if that is a copy.

        While nothing is written, it is read at once, so that it is recorded where it was written.
        """
        top = self if self.base is None else self.base
        memory = top.memory
        if memory is None:
            view = wrapped(on_tensor(self.node))
            if not np.may_share_memory(view.node.value, top.node.value):
                return view
        else:
            array = on_array(self.value)
            if not np.may_share_memory(array, memory.array):
                return wrapped(on_tensor(self.now()))
            view = _new(Assignable)
            view.memory, view.version, view.array = None, -1, array
        view.base, view.parent, view.on_array, view.on_tensor = top, self, on_array, on_tensor
        if memory is not None and memory.owner is None:
            view.now()
        return view

    def __getitem__(self, index: Any) -> Any:
        index = plain_index(index)
        memory = self.memory if self.base is None else self.base.memory
        if not _is_basic(index):
            return wrapped(_read(self.now(), index=index))
        if memory is not None and memory.owner is not None:
            value = self.value[index]
            if type(value) is not np.ndarray:  # an element: a number of its own
                return wrapped(memory.read(np.asarray(self.numbers[index]), np.asarray(value)))
        elif _is_element(index, self.ndim):
            return wrapped(_read(self.now(), index=index))
        return self.view_by(lambda a: a[index], lambda t: _read(t, index=index))

    def __setitem__(self, index: Any, x: Any) -> None:  # type: ignore[override]
        index = plain_index(index)
        top = self if self.base is None else self.base
        is_view = type(x) is Assignable and x.base is top and _is_basic(index)
        if is_view and np.array_equal(x.numbers, self.numbers[index]):
            return  # what `a[i] += v` ends with: the view a[i] is written to already
        x = joined(x)
        memory = self._writable()
        if isinstance(x, Tensor) and x.dtype != memory.array.dtype:
            x = x.astype(memory.array.dtype)
        is_all = self.base is None and _is_all_of(index)
        if is_all and isinstance(x, Tensor) and x.live and x.ndim <= memory.array.ndim:
            shape = memory.array.shape
            memory.replace(x if x.shape == shape else op(np.broadcast_to)(x, shape=shape))
            return
        self.value[index] = x.value if isinstance(x, Tensor) else x
        memory.write(self.numbers[index], x)

    def become(self, t: Tensor) -> Assignable:
        """Return this array with its elements changed to those of t: what `a += b` does.

        A number is not changed: as in NumPy, the variable gets another.
        """
        if self.base is None and self.memory is None and not self.node.value.ndim:
            return wrapped(t)  # type: ignore[no-any-return]
        self[...] = t
        return self

    @property
    def flat(self) -> Flat:
        """The elements in a row, to be read and written."""
        return Flat(self)

    @flat.setter
    def flat(self, values: Any) -> None:
        Flat(self)[:] = values

    def fill(self, x: Any) -> None:
        """Write one number everywhere."""
        self[...] = x

    def sort(self, axis: int = -1, **_: Any) -> None:  # type: ignore[override]
        """Sort in place."""
        self[...] = op(np.sort)(self.now(), axis=axis)

    def put(self, places: Any, values: Any, mode: str = "raise") -> None:
        """Write at places of the elements in a row."""
        Flat(self)[np.asarray(places)] = values

    def item(self, *place: Any) -> Any:
        """Return an element, which gradients are still followed through."""
        if not place:
            return wrapped(shaped(self.now(), ())) if self.size == 1 else self.value.item()
        return Flat(self)[place[0]] if len(place) == 1 else self[place]

    def tolist(self) -> Any:
        """Return the elements in nested lists; gradients are still followed through them."""
        return [part.tolist() for part in self] if self.ndim else self.item()

    def flatten(self, order: str = "C") -> Any:
        """Return a copy in one dimension."""
        return wrapped(op(np.copy)(op(np.ravel)(self.now() if order == "C" else self.now().T)))

    def astype(self, dtype: Any, *_: Any, **__: Any) -> Any:
        """Return a copy of another dtype."""
        return wrapped(op(np.copy)(op(np.astype)(self.now(), dtype)))

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[k] for k in range(len(self)))

    # ---- Python's protocols ------------------------------------------------------------------

    def __hash__(self) -> int:
        if self.ndim:
            raise TypeError("unhashable type: 'numpy.ndarray'")
        return hash(self.value.item())

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    __trunc__ = __int__

    def __index__(self) -> int:
        return operator.index(self.value)  # which refuses, with NumPy's words

    def __float__(self) -> float:
        if self.is_live:
            _refuse_storing(sys._getframe(1))
            raise refused(
                "what gradients flow through becomes a Python number, which keeps no derivative",
                "leave it an array; write np.exp(x) for a function of another library",
            )
        return float(self.value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if self.is_live:
            _refuse_storing(sys._getframe(1))
            raise refused(
                "what gradients flow through becomes a plain array, in a function that minigrad "
                "does not know",
                "compute it with functions of NumPy, or define a primitive (see mg.define)",
            )
        return np.array(self.value, dtype=dtype)

    def __format__(self, spec: str) -> str:
        return format(self.value.item(), spec) if spec and self.size == 1 else str(self)

    def __repr__(self) -> str:
        return repr(self.value if self.ndim else self.value[()])

    def __str__(self) -> str:
        return str(self.value if self.ndim else self.value[()])

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def __reduce__(self) -> NoReturn:
        raise refused(
            "what gradients flow through is pickled, and keeps no derivative", "use x.copy()"
        )

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.value.item() if not self.ndim else self.value, digits)


for _name in ("add", "sub", "mul", "truediv", "pow", "mod", "matmul"):
    for _form, _operator in zip(("", "r", "i"), _operators(_name), strict=True):
        setattr(Assignable, f"__{_form}{_name}__", _operator)
for _name in (
    "sum", "prod", "mean", "var", "std", "max", "min", "clip", "cumsum", "cumprod", "repeat", "dot",
    "trace", "take", "partition", "copy", "conj", "argmax", "argmin", "argsort", "argpartition",
    "searchsorted", "all", "any", "round", "nonzero", "__neg__", "__pos__", "__abs__",
    "__floordiv__", "__rfloordiv__", "__divmod__", "__rdivmod__",
):  # fmt: skip
    setattr(Assignable, _name, _method(_name))
for _name in ("reshape", "transpose", "swapaxes", "squeeze", "ravel", "diagonal"):
    setattr(Assignable, _name, _view(_name))
for _name in ("backward", "retain_grad", "numpy", "detach"):
    setattr(Assignable, _name, _of_now(_name))


def _is_basic(index: Any) -> bool:
    if type(index) is tuple:
        return all(type(k) in BASIC or isinstance(k, np.integer) for k in index)
    return type(index) in BASIC or isinstance(index, np.integer)


def _is_element(index: Any, ndim: int) -> bool:
    """Whether a basic index is of integers only, one for each axis: that gives no view."""
    if type(index) is tuple:
        return len(index) == ndim and all(isinstance(k, (int, np.integer)) for k in index)
    return ndim == 1 and isinstance(index, (int, np.integer))


def _is_all_of(index: Any) -> bool:
    if type(index) is tuple:
        return not index
    return index is Ellipsis or (type(index) is slice and index == slice(None))


class Flat:
    """What `x.flat` is: the elements in a row."""

    def __init__(self, of: Assignable) -> None:
        self.of = of

    def _index(self, i: Any) -> tuple[Any, ...]:
        return np.unravel_index(np.arange(self.of.size)[i], self.of.shape)

    def __getitem__(self, i: Any) -> Any:
        return self.of[self._index(i)]

    def __setitem__(self, i: Any, x: Any) -> None:
        self.of[self._index(i)] = x

    def __len__(self) -> int:
        return self.of.size

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))
