"""Arrays that can be assigned to, as NumPy's can, and that gradients flow through.

`Assignable` is what NumPy code gets for an array that gradients may flow through: a tensor with an
array's face, memory included. Until it is first written to, it is the tensor that it was made with,
and costs little more; from then on a `Memory` stands behind it.

A view is a function on arrays, which NumPy's own view of the values comes from, and from the
array of the elements' numbers which elements those are; and the same function on tensors.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NoReturn

import numpy as np

from ..core.dtypes import Array
from ..core.tensor import BASIC, OPS, Tensor, apply, op, plain_index
from ..guard import leaving
from ..guard.errors import users_call
from .memory import Memory, shaped

__all__ = [
    "PLAIN_OPTIONS", "Assignable", "NotFollowed", "holds_tensor", "into_plain", "is_live", "joined",
    "now", "plain", "recorded", "refused", "snapshots", "wrapped", "written",
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
    if type(t) is Tensor:
        if t.value.dtype.kind != "f":
            return t.value if t.value.ndim else t.value[()]
        return _around(t)
    if isinstance(t, (list, tuple)):
        parts = [wrapped(part) for part in t]
        return t._make(parts) if hasattr(t, "_make") else type(t)(parts)
    if type(t) is np.ndarray and t.dtype.kind == "f":
        return wrapped(Tensor(t if t.flags.writeable else t.copy()))  # as `plain` gives
    if isinstance(t, Tensor) and type(t) is not Assignable:  # a subclass of the user's
        return wrapped(op(np.positive)(t))
    return t


def _around(t: Tensor) -> Assignable:
    a: Assignable = _new(Assignable)
    a.node, a.base, a.memory = t, None, None
    return a


def now(x: Any) -> Any:
    """Return the plain tensor that an array is at this moment; anything else as it is."""
    return x.now() if type(x) is Assignable else x


snapshots: ContextVar[dict[int, tuple[Array, Array]] | None] = ContextVar("kept", default=None)
"""By its id, a plain array that a run of NumPy code has used, and a copy of it as it was then."""


def kept(x: Any) -> Any:
    """Return what is to be recorded of a plain array, which may be written to later: a copy.

    The copy is that of the last time, if nothing was written since.
    """
    if type(x) is not np.ndarray or not x.flags.writeable or x.dtype.hasobject:
        return x
    known = snapshots.get()
    if known is None:
        return x.copy()
    found = known.get(id(x))
    if found is None or found[1].shape != x.shape or not (found[1] == x).all():
        found = known[id(x)] = x, x.copy()
    return found[1]


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
    if type(x) is Assignable:
        return x.now()
    if isinstance(x, (list, tuple)) and holds_tensor(x):
        return op(np.stack)([joined(part) for part in x])
    return kept(x)


def recorded(x: Any) -> Any:
    """Return what minigrad is to get: the tensors of this moment, also in containers."""
    if type(x) is Assignable:
        return x.now()
    if type(x) in (list, tuple) and holds_tensor(x):
        return type(x)(map(recorded, x))
    if type(x) is dict:
        return {key: recorded(part) for key, part in x.items()}
    return kept(x)


def plain(x: Any) -> Any:
    """Return the values of tensors, also in containers; nothing may be written to them."""
    if isinstance(x, Tensor):
        if not x.value.ndim:
            return x.value[()]
        values = x.value.view()
        values.flags.writeable = False
        return values
    if type(x) in (list, tuple):
        return type(x)(map(plain, x))
    if type(x) is dict:
        return {key: plain(part) for key, part in x.items()}
    return x


def _operators(name: str) -> tuple[Any, Any, Any]:
    """Make an operator, the one for an array on the right, and the one in place."""
    left, right = getattr(Tensor, f"__{name}__"), getattr(Tensor, f"__r{name}__")

    def of_left(self: Assignable, other: Any) -> Any:
        return _around(left(self.now(), other if type(other) in _FIXED else joined(other)))

    def of_right(self: Assignable, other: Any) -> Any:
        return _around(right(self.now(), other if type(other) in _FIXED else joined(other)))

    def in_place(self: Assignable, other: Any) -> Any:
        return self.become(left(self.now(), joined(other)))

    return of_left, of_right, in_place


_FIXED = {int, float, Tensor}


def _unary(name: str) -> Any:
    of_tensor = getattr(Tensor, name)
    return lambda self: _around(of_tensor(self.now()))


def _in_place(name: str) -> Any:
    """Make a method that puts what NumPy's function of this name gives into the array."""

    def method(self: Assignable, *args: Any, **kwargs: Any) -> None:
        self[...] = getattr(np, name)(self, *args, **kwargs)

    return method


def _method(name: str) -> Any:
    of_tensor = getattr(Tensor, name)

    def method(self: Assignable, *args: Any, **kwargs: Any) -> Any:
        if not PLAIN_OPTIONS.issuperset(kwargs):
            return getattr(np, name)(self, *args, **kwargs)
        return wrapped(of_tensor(self.now(), *map(joined, args), **kwargs))

    method.__name__ = name
    return method


PLAIN_OPTIONS = {"axis", "keepdims", "ddof"}
_OF_MEMORY = {"flags", "itemsize", "nbytes", "strides", "tobytes"}


def _view(name: str) -> Any:
    of_array, of_tensor = getattr(np.ndarray, name), getattr(Tensor, name)

    def method(self: Assignable, *args: Any, order: str = "C", **kwargs: Any) -> Any:
        if name == "ravel":
            args, order = (), args[0] if args else order
        if order == "F":  # the axes of both in reverse order
            shape = args[0] if len(args) == 1 and np.ndim(args[0]) else args
            return self.T.reshape(*shape[::-1]).T if shape else self.T.ravel()
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
        "array", "base", "memory", "node", "on_array", "on_tensor", "parent", "seen_sources",
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
    seen_sources: tuple[Array, Array]

    # ---- what it is at this moment -----------------------------------------------------------

    def now(self) -> Tensor:
        """Return the plain tensor of this moment."""
        memory = self.memory if (base := self.base) is None else base.memory
        if memory is None or self.version == memory.version:
            return self.node
        if base is None:
            t = memory.whole()
        elif memory.writes and memory.node_version != memory.version:
            t = memory.read(*self._sources(memory), self.value)
        else:
            t = self.on_tensor(self.parent.now())
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

    def _sources(self, memory: Memory) -> tuple[Array, Array]:
        """Return the views of which write gave the elements, and of the places in that."""
        if self.base is None:
            return memory.owner, memory.place
        try:
            return self.seen_sources
        except AttributeError:
            owner, place = self.parent._sources(memory)
            self.seen_sources = self.on_array(owner), self.on_array(place)
            return self.seen_sources

    def _writable(self) -> Memory:
        top = self if self.base is None else self.base
        if top.memory is None:
            top.memory, top.version = Memory(top.node), 0
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
    name = property(lambda self: self.now().name)
    data = property(lambda self: self.value.copy())
    T = property(lambda self: self.view_by(operator.attrgetter("T"), Tensor.transpose))
    mT = property(lambda self: self.swapaxes(-1, -2))  # noqa: N815
    real = property(lambda self: self)
    imag = property(lambda self: np.zeros(self.shape, self.dtype))

    def __getattr__(self, name: str) -> Any:
        if name in _OF_MEMORY:
            return getattr(self.value, name)
        if name.startswith("_") or name in Assignable.__slots__ or not hasattr(np.ndarray, name):
            raise AttributeError(f"'numpy.ndarray' object has no attribute {name!r}")
        if hasattr(np, name):
            return functools.partial(getattr(np, name), self)
        raise refused(f".{name} of what gradients flow through", "write it with functions of NumPy")

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
            view.version = 0
        else:
            array = on_array(self.value)
            if type(array) is not np.ndarray or not np.may_share_memory(array, memory.array):
                if not memory.writes:
                    return wrapped(on_tensor(self.now()))
                owner, place = map(on_array, self._sources(memory))
                return wrapped(memory.read(np.asarray(owner), np.asarray(place), array))
            view = _new(Assignable)
            view.memory, view.version, view.array = None, -1, array
        view.base, view.parent, view.on_array, view.on_tensor = top, self, on_array, on_tensor
        if memory is not None and not memory.writes:
            view.now()
        return view

    def __getitem__(self, index: Any) -> Any:
        if _is_basic(index):
            return self.view_by(operator.itemgetter(index), functools.partial(_element, index))
        index = plain_index(index)
        index = tuple(map(kept, index)) if type(index) is tuple else kept(index)
        return _around(_read(self.now(), index=index))

    def __setitem__(self, index: Any, x: Any) -> None:  # type: ignore[override]
        index = plain_index(index)
        top = self if self.base is None else self.base
        is_view = type(x) is Assignable and x.base is top and _is_basic(index)
        if is_view and _is_same_view(x.value, self.value[index]):
            return  # what `a[i] += v` ends with: the view a[i] is written to already
        x = joined(x)
        memory = self._writable()
        if isinstance(x, Tensor) and x.dtype != memory.array.dtype:
            x = x.astype(memory.array.dtype)
        live = isinstance(x, Tensor) and x.live
        if live and self.base is None and x.ndim <= memory.array.ndim and _is_all_of(index):
            shape = memory.array.shape
            memory.replace(x if x.shape == shape else op(np.broadcast_to)(x, shape=shape))
            return
        self.value[index] = x.value if isinstance(x, Tensor) else x
        if live or memory.is_live:
            if not memory.writes:
                memory.split()
            memory.write(*self._sources(memory), index, x)
        memory.version += 1

    def become(self, t: Tensor) -> Assignable:
        """Return this array with its elements changed to those of t: what `a += b` does.

        A number is not changed: as in NumPy, the variable gets another.
        """
        if self.base is None and self.memory is None and not self.node.value.ndim:
            return wrapped(t)  # type: ignore[no-any-return]
        self[...] = t
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of every axis."""
        return self.value.shape  # type: ignore[no-any-return]

    @shape.setter
    def shape(self, shape: Any) -> None:
        if self.base is not None or self.memory is not None:
            raise refused(
                "the shape of an array that was written to is set", "write a = a.reshape(shape)"
            )
        self.node = self.node.reshape(shape)

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

    def compress(self, condition: Any, axis: int | None = None) -> Any:
        """Return the slices where a condition holds."""
        return np.compress(condition, self, axis)

    def view(self, *kinds: Any) -> Any:
        """Return a view of all of it."""
        return self[...] if not kinds else self.__getattr__("view")

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

    def copy(self, order: str = "C") -> Any:
        """Return a copy, in the order of memory that NumPy gives it."""
        t = op(np.copy)(self.now())
        if order == "C" and not t.value.flags.c_contiguous:
            t = op(np.ravel)(t).reshape(t.shape)
        return wrapped(t)

    def astype(self, dtype: Any, *_: Any, copy: bool = True, **__: Any) -> Any:
        """Return a copy of another dtype."""
        if not copy and np.dtype(dtype) == self.dtype:
            return self
        return wrapped(op(np.copy)(op(np.astype)(self.now(), dtype)))

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    # ---- Python's protocols ------------------------------------------------------------------

    def __float__(self) -> float:
        self._leaves(
            "a Python number, which keeps no derivative",
            "leave it an array; write np.exp(x) for a function of another library",
        )
        return float(self.value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        self._leaves(
            "a plain array, in a function that minigrad does not know",
            "compute it with functions of NumPy, or define a primitive (see mg.define)",
        )
        return np.array(self.value, dtype=dtype)

    def _leaves(self, what: str, instead: str) -> None:
        if self.is_live:
            if leaving.instruction(sys._getframe(2)) in ("STORE_SUBSCR", "STORE_SLICE"):
                raise into_plain("by a[i] = x")
            raise refused(f"what gradients flow through becomes {what}", instead)

    def __copy__(self, memo: Any = None) -> Any:
        return self.copy()

    __deepcopy__ = __copy__

    def __reduce__(self) -> NoReturn:
        raise refused(
            "what gradients flow through is pickled, and keeps no derivative", "use x.copy()"
        )


def _of_values(f: Any) -> Any:
    return lambda self, *args: f(plain(self), *args)


for _f in (bool, int, hash, format, repr, str, round, len, operator.index):
    setattr(Assignable, f"__{_f.__name__}__", _of_values(_f))
for _name in ("add", "sub", "mul", "truediv", "pow", "mod", "matmul"):
    for _form, _operator in zip(("", "r", "i"), _operators(_name), strict=True):
        setattr(Assignable, f"__{_form}{_name}__", _operator)
for _name in (
    "sum", "prod", "mean", "var", "std", "max", "min", "clip", "cumsum", "cumprod", "repeat", "dot",
    "trace", "take", "conj", "argmax", "argmin", "argsort", "argpartition", "searchsorted", "all",
    "any", "round", "nonzero", "__floordiv__", "__rfloordiv__", "__divmod__", "__rdivmod__",
):  # fmt: skip
    setattr(Assignable, _name, _method(_name))
for _name in ("__neg__", "__pos__", "__abs__"):
    setattr(Assignable, _name, _unary(_name))
for _name in ("sort", "partition"):
    setattr(Assignable, _name, _in_place(_name))
for _name in ("reshape", "transpose", "swapaxes", "squeeze", "ravel", "diagonal"):
    setattr(Assignable, _name, _view(_name))


def _is_same_view(a: Any, b: Any) -> bool:
    """Whether two arrays are the same part of the same memory."""
    if a.shape != b.shape or a.strides != b.strides:
        return False
    where: bool = a.__array_interface__["data"] == b.__array_interface__["data"]
    return where


_BASIC = {*BASIC, *(np.dtype(code).type for code in np.typecodes["AllInteger"])}


def _is_basic(index: Any) -> bool:
    return _BASIC.issuperset(map(type, index)) if type(index) is tuple else type(index) in _BASIC


def _element(index: Any, t: Tensor) -> Tensor:
    return apply(_read, (t,), {"index": index})


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
