"""Tensor, the registry of operations, and NumPy's protocols.

A Tensor is a node of the tape with an array's face. It knows no operation: `+` looks `np.add` up in
`OPS`, and NumPy's own functions come back here through `__array_ufunc__` and `__array_function__`,
so `np.tanh(t)`, `np.float64(2) * t` and `array @ t` are Tensors too.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from types import EllipsisType
from typing import Any, NoReturn, TypeAlias
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from ..guard import hints, leaving, repeated_backward
from ..guard.errors import explained
from ..guard.leaving import described
from . import hooks, tape
from .context import current, placed, tracing, watching
from .dtypes import Array, DType, get_default_dtype, plain, real, require_plain, require_real
from .tape import Node, Outputs

__all__ = [
    "OPS", "ArrayLike", "Index", "Tensor", "apply", "as_floating", "as_tensor", "checked",
    "constant_of", "holds_numpy", "label", "made_by", "named", "numbers_of", "op", "taken_out",
    "tensor", "value_of", "was_given", "was_trained",
]  # fmt: skip

ArrayLike: TypeAlias = "Tensor | npt.ArrayLike"
"""What operations take: a Tensor, an array, a number, or nested lists of numbers."""

Index: TypeAlias = "ArrayLike | slice | EllipsisType | tuple[Index, ...] | None"
"""What stands in `x[...]`: as in NumPy, and Tensors of integers or booleans."""

Operator: TypeAlias = "Callable[[Tensor, ArrayLike], Tensor]"

OPS: dict[Any, Callable[..., Any]] = {}
"""Every operation, keyed by the NumPy function (or the forward function) that it differentiates."""


def op(key: Callable[..., Any]) -> Callable[..., Tensor]:
    """Return the operation that differentiates a NumPy function."""
    return OPS[key]


def _have_freed_memory_kept() -> None:
    """Free one large block, after which glibc keeps up to 64 MB for the next one: mallopt(3).

    Graphs are freed in large pieces. Otherwise these go back to the system at once, and are paged
    in again by the next step.
    """
    np.empty(31 << 20, np.uint8)


_have_freed_memory_kept()

_NO_PARAMS: dict[str, Any] = {}  # a plain dict: `**` of any other mapping costs 0.5 us
BASIC = {int, slice, type(None), type(Ellipsis)}  # what an index that makes a view is made of
_PLAIN = BASIC | {np.ndarray}  # indices that hold no Tensor
_WEAK = {float, int, bool}  # numbers that do not decide the dtype, so they stay what they are
_COMPARISONS: dict[str, Any] = {
    "less": operator.lt, "less_equal": operator.le, "greater": operator.gt,
    "greater_equal": operator.ge, "equal": operator.eq, "not_equal": operator.ne,
}  # fmt: skip
_retained: WeakValueDictionary[int, Tensor] = WeakValueDictionary()
"""The results whose gradient `backward` fills in, by index: `==` of tensors is elementwise."""

_ndarray, _new, _next_index = np.ndarray, object.__new__, tape.next_index


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Tensor, *args: ArrayLike | None, **kwargs: Any) -> Any:
        return OPS[function](self, *args, **kwargs)

    method.__name__ = function.__name__
    method.__doc__ = f"Return `np.{function.__name__}` of this tensor."
    vars(method)["__wrapped__"] = _Called(function)
    return method


class _Called:
    """What `inspect.signature` reads of a method: the operation's, which is stated later."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    @property
    def __signature__(self) -> inspect.Signature:
        own = inspect.signature(OPS[self.function])
        first, *rest = own.parameters.values()
        more = [first, *rest] if first.kind is first.VAR_POSITIONAL else rest
        return own.replace(parameters=[inspect.Parameter("self", first.POSITIONAL_ONLY), *more])


_differentiable: Callable[[Any], Callable[..., Tensor]] = _method
_constants: Callable[[Any], Callable[..., Array]] = _method  # outside the graph


def _comparison(name: str) -> Callable[[Tensor, Any], Any]:
    def compare(self: Tensor, other: Any) -> Any:
        if watching and (found := constant_of(getattr(np, name), (self, other))) is not None:
            return found
        xs = self.value, value_of(other)
        try:
            return _COMPARISONS[name](*xs)
        except (ValueError, TypeError) as error:
            raise explained(placed(name), xs, _NO_PARAMS, error) from error

    return compare


def _operators(function: np.ufunc, sign: str) -> tuple[Operator, Operator, Operator]:
    """Make an operator of two operands, the one for a Tensor on the right, and that of `x += y`."""

    def left(self: Tensor, other: ArrayLike) -> Any:
        if isinstance(other, Tensor):  # what `apply` does: small arrays are all overhead
            xs = self.value, other.value
            return _run(OPS[function], (self, other), xs, _NO_PARAMS, self.live or other.live)
        try:
            return apply(OPS[function], (self, other))
        except TypeError:
            if getattr(type(other), "__array_ufunc__", function) is None:  # it has its own way
                return NotImplemented
            raise

    def right(self: Tensor, other: ArrayLike) -> Tensor:
        return apply(OPS[function], (other, self))

    def rebound(self: Tensor, other: ArrayLike) -> Tensor:
        if self.primitive is None:
            leaving.may_be_rebound(self, sign, current())
        if isinstance(other, Tensor):  # as `left`, without the cost of calling it
            xs = self.value, other.value
            return _run(OPS[function], (self, other), xs, _NO_PARAMS, self.live or other.live)
        return apply(OPS[function], (self, other))

    return left, right, rebound


def _constant_operators(
    function: np.ufunc,
) -> tuple[Callable[[Tensor, ArrayLike], Array], Callable[[Tensor, ArrayLike], Array]]:
    """Make an operator of what has no derivative, and the one for a Tensor on the right."""

    def left(self: Tensor, other: ArrayLike) -> Any:
        return OPS[function](self, other)

    def right(self: Tensor, other: ArrayLike) -> Any:
        return OPS[function](other, self)

    return left, right


@hints.elsewhere
class Tensor(Node):
    """An array that remembers how it was computed. Make one with `minigrad.tensor`.

    Tensors are immutable: operations make new ones. What can change is a leaf's `data` (rebound by
    optimisers), its `grad` and its `name`.

    One that gradients flow through leaves the graph only where that is said: `t.data`, `.numpy()`,
    `.item()`, `.tolist()`, `.detach()`, printing. `np.array(t)` raises a TypeError, and so does
    `float(t)` in a transform; elsewhere, but in `no_grad`, `float(t)` gives a `GraphWarning`.
    """

    __slots__ = ("__weakref__", "_given", "_hooks", "grad", "name")
    __hash__ = object.__hash__
    __array_priority__ = 1000.0
    value: Array  # of the node behind several outputs: an `Outputs` of arrays

    def __init__(self, value: Array, live: bool = False, name: str | None = None) -> None:
        """Hold `value` as it is, without a copy; `minigrad.tensor` is the constructor to use."""
        if not isinstance(value, (_ndarray, Outputs)):
            raise TypeError(f"Tensor holds an array as it is, not {value!r}; write mg.tensor(...)")
        self.value, self.live, self.name = value, live, name
        self.grad: Array | None = None
        self.primitive, self.inputs, self.xs, self.params = None, (), (), _NO_PARAMS
        self.scope, self.index = None, _next_index()

    def _made_by(
        self, primitive: Any, inputs: Any, xs: Any, params: Any = _NO_PARAMS, scope: Any = None
    ) -> Tensor:
        """Return this new tensor, recorded as the result of a primitive."""
        self.primitive, self.inputs, self.xs, self.params = primitive, inputs, xs, params
        self.scope = scope
        return self

    # ---- what it holds -----------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The array: writable for a leaf, a read-only view for a result."""
        if watching:
            _taken(self, ".data")
        if self.primitive is None:
            return self.value
        view = self.value.view()
        view.flags.writeable = False
        return view

    @data.setter
    def data(self, value: ArrayLike) -> None:
        if self.primitive is not None:
            raise TypeError(
                f"cannot set the data of {described(self)}, which is the result of "
                f"{self.primitive.name}; only the data of a leaf can be replaced"
            )
        tracer = tracing()
        given = value if tracer and isinstance(value, Tensor) else taken_out(value)
        new: Any = given if isinstance(given, Tensor) else plain(given, "a tensor", "holds")
        if new.shape != self.value.shape:
            raise ValueError(
                f"cannot set the data of {described(self)}: its shape is {self.value.shape}, "
                f"the new data has shape {new.shape}"
            )
        if tracer is not None:
            t = as_tensor(new).detach()
            tracer.rebound(self, t if t.dtype == self.dtype else t.astype(self.dtype))
            return
        self.value = new.astype(self.value.dtype, copy=False)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor."""
        return self.live

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if self.primitive is not None:
            raise TypeError("requires_grad of a result is given by its inputs; use t.detach()")
        if not isinstance(wanted, (bool, np.bool_)):
            raise TypeError(f"requires_grad must be True or False, not {wanted!r}")
        if wanted:
            require_real(self.value.dtype)
        self._given = bool(wanted) or self.live or was_trained(self)
        self.live = bool(wanted)

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of every axis."""
        return self.value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements; gradients flow to floating ones alone."""
        return self.value.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.value.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.value.size

    @property
    def T(self) -> Tensor:
        """This tensor with its axes in reverse order."""
        return self.transpose()

    @property
    def mT(self) -> Tensor:
        """This tensor with its last two axes exchanged: a stack of matrices, each transposed."""
        return self.swapaxes(-1, -2)

    def numpy(self) -> Array:
        """Return the data as an array of the caller's own, a copy."""
        if watching:
            _taken(self, ".numpy()")
        return self.value.copy()

    def item(self, *place: int) -> Any:
        """Return the only element, or the one at `place`, as a Python number."""
        if watching:
            _taken(self, ".item()")
        return self.value.item(*place)

    def tolist(self) -> Any:
        """Return the data as a Python number, or as nested lists of them."""
        if watching:
            _taken(self, ".tolist()")
        return self.value.tolist()

    def detach(self) -> Tensor:
        """Return a constant with the same data."""
        if watching and tracing():
            return _leaf(value_of(self), False, self.name, False if was_given(self) else None)
        return _leaf(self.data, False, self.name, False if was_given(self) else None)

    def holding(self, value: Any) -> Tensor:
        """Return this tensor as it was when it held `value`: itself, unless rebound since."""
        if self.value is value:
            return self
        return Tensor(value, True, self.name)._made_by(OPS[np.positive], (self,), (value,))

    def opened(self) -> Any:
        """Return this tensor, or the tensors of the several outputs of its primitive."""
        outputs: Any = self.value
        if not isinstance(outputs, Outputs):
            return self
        return Outputs(
            [
                Tensor(v, v.dtype.kind == "f")._made_by(
                    OPS[Outputs], (self,), (outputs,), {"k": k}, self.scope
                )
                for k, v in enumerate(outputs)
            ]
        )

    # ---- gradients ---------------------------------------------------------------------------

    def backward(self, grad: ArrayLike | None = None) -> None:
        """Add the gradient of this tensor to `.grad` of every leaf that requires one.

        `grad` is the cotangent, of this tensor's shape; it may be left out for one element.
        Arrays that were used must be what they were: after `x.data[...] = v` or `array[i] = v` the
        gradient is wrong, which only `mg.debug()` sees; `x.data = v`, a step, is no such change.
        Threads that go backward at once must have no leaf in common: adding takes no lock, and one
        may overwrite what another adds. Transforms, which return their gradients, may share all.
        """
        if not self.live:
            raise RuntimeError(
                f"backward() on {described(self)}, which has no graph: nothing it was computed "
                "from requires gradients. Create an input with mg.tensor(..., requires_grad=True), "
                "and compute outside mg.no_grad()"
            )
        if watching:
            _taken(self, ".backward()")
        path, _ = tape.between(None, [self])
        repeated_backward.notice(path, _next_index())
        seed = cotangent_for(self, grad, "backward(): a cotangent")
        keep = {t for t in path if t.index in _retained} if _retained else ()
        found = tape.pull(path, [self], [seed], keep=keep)
        for t, g in found.items():
            if isinstance(t, Tensor):
                t.grad = np.array(g) if t.grad is None else np.asarray(t.grad + g)

    def retain_grad(self) -> None:
        """Have `backward` fill the `.grad` of this result too, as it does that of leaves."""
        if not self.live:
            raise RuntimeError(f"retain_grad() on {described(self)}: no gradient flows there")
        if watching:
            _taken(self, ".retain_grad()")
        _retained[self.index] = self

    def register_hook(self, hook: Callable[[Any], Any]) -> hooks.Handle:
        """Have `hook(g)` called with the gradient by this tensor, and return what removes it.

        It is called whenever reverse mode has summed that gradient, be it `backward` or a
        transform, and before `.grad` is filled. g is an array, read-only, or a Tensor where the
        derivative is differentiated again. Unless the hook returns None, what it returns takes the
        place of g: the gradients behind follow from that. Forward mode calls no hooks.

        >>> x = tensor(3.0, requires_grad=True)
        >>> y = x * 2
        >>> with y.register_hook(lambda g: 10 * g):
        ...     (y * y).backward()
        >>> x.grad
        array(240., dtype=float32)
        """
        if not self.live:
            raise RuntimeError(f"register_hook() on {described(self)}: no gradient flows there")
        if watching:
            _taken(self, ".register_hook()")
        return hooks.of_tensor(self, hook)

    def hooked(self, g: Any) -> Any:
        """Return what a hook gave, as a cotangent of this tensor; ValueError if it is none."""
        return cotangent_for(self, g, "register_hook: the hook returned a gradient")

    # ---- Python's protocols ------------------------------------------------------------------

    def __repr__(self) -> str:
        body = np.array2string(self.value, separator=", ", prefix="tensor(")
        notes = [f"name={self.name!r}"] if self.name else []
        if self.value.dtype != get_default_dtype():
            notes.append(f"dtype={self.value.dtype}")
        if self.live:
            op = self.primitive and self.primitive.name
            notes.append(f"op={op!r}" if op else "requires_grad=True")
        return f"tensor({', '.join([body, *notes])})"

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Tensor]:
        if not self.value.ndim:
            raise TypeError("cannot iterate over a 0-d tensor")
        return (self[k] for k in range(len(self.value)))

    def __bool__(self) -> bool:
        if self.value.size != 1:
            raise ValueError(
                f"the truth of a tensor of shape {self.shape} is ambiguous; use np.any or np.all"
            )
        if watching:
            _taken(self, "bool()")
        return bool(self.value.item())

    def __float__(self) -> float:
        if watching:
            _taken(self, "float()")
        return float(leaving.as_number(self, current()))

    def __int__(self) -> int:
        if watching:
            _taken(self, "int()")
        return int(leaving.as_number(self, current()))

    __trunc__ = __int__

    def __index__(self) -> int:
        if self.value.dtype.kind == "f":
            raise TypeError(
                f"{described(self)} of {self.dtype} is no whole number; write int(t.item()), "
                "through which no gradient flows"
            )
        if watching:
            _taken(self, "int()")
        return operator.index(self.value.item())

    def as_integer_ratio(self) -> NoReturn:
        """Refuse to be a fraction: the `statistics` and `fractions` of Python ask for that."""
        raise TypeError(
            f"{described(self)} is no fraction; write np.mean(np.stack(list)) for statistics.mean, "
            "and t.item() where no gradient is meant to flow"
        )

    def __format__(self, spec: str) -> str:
        return format(self.value.item(), spec) if spec else str(self)

    def __contains__(self, item: ArrayLike) -> bool:
        return bool((self == item).any())

    def __copy__(self) -> Tensor:
        if leaving.must_stay(self, current()) or tracing():
            return op(np.copy)(self)
        return _restored(*self.__reduce__()[1])

    def __deepcopy__(self, memo: Any) -> Tensor:
        if leaving.must_stay(self, current()) or tracing():
            return op(np.copy)(self)
        return _restored(*deepcopy(self.__reduce__()[1], memo))

    def __reduce__(self) -> tuple[Any, ...]:
        if watching:
            _taken(self, "a copy outside the graph")
        if leaving.must_stay(self, current()):
            raise leaving.no_array(self)
        is_leaf = self.primitive is None
        state = (
            self.value,
            is_leaf and self.live,
            self.name,
            self.grad,
            getattr(self, "_given", None),
        )
        return _restored, state

    def __getitem__(self, index: Index) -> Tensor:
        return apply(OPS[operator.getitem], (self,), {"index": plain_index(index)})

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError(
            "tensors are immutable: instead of x[i] = v write x = x.at[i].set(v), and instead of "
            "x[i] += v write x = x.at[i].add(v); to fill a leaf before it is used, x.data[i] = v"
        )

    # ---- NumPy's protocols -------------------------------------------------------------------

    def __array__(self, dtype: DType = None, copy: bool | None = None) -> Array:
        if self.live:
            raise leaving.no_array(self)
        if watching:
            _taken(self, "np.asarray()")
        if copy is False:
            if dtype is not None and np.dtype(dtype) != self.dtype:
                raise ValueError(f"a {dtype} array of a {self.dtype} tensor needs a copy")
            return self.data
        return np.array(self.value, dtype=dtype, copy=True)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "outer":
            a, b = inputs
            inputs = as_tensor(a).reshape(np.shape(a) + (1,) * np.ndim(b)), b
        function = ufunc if method in ("__call__", "outer") else getattr(ufunc, method)
        return _operation(function, kwargs)(*inputs, **kwargs)

    def __array_function__(
        self, func: Any, types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        operation = _operation(func, kwargs)
        if len(args) > len(alike := _alike(func)):
            raise TypeError(
                f"{func.__name__}: minigrad takes {', '.join(alike)} by position; give what comes "
                "after by name"
            )
        return operation(*args, **kwargs)

    def __dlpack__(self, **options: Any) -> Any:
        return np.asarray(self).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.value.__dlpack_device__()

    # ---- operators: each looks its NumPy function up -------------------------------------------
    # fmt: off
    __add__, __radd__, __iadd__ = _operators(np.add, "+=")
    __sub__, __rsub__, __isub__ = _operators(np.subtract, "-=")
    __mul__, __rmul__, __imul__ = _operators(np.multiply, "*=")
    __truediv__, __rtruediv__, __itruediv__ = _operators(np.divide, "/=")
    __pow__, __rpow__, __ipow__ = _operators(np.power, "**=")
    __mod__, __rmod__, __imod__ = _operators(np.remainder, "%=")
    __matmul__, __rmatmul__, __imatmul__ = _operators(np.matmul, "@=")
    __lt__, __le__, __gt__, __ge__, __eq__, __ne__ = map(_comparison, _COMPARISONS)
    __floordiv__, __rfloordiv__ = _constant_operators(np.floor_divide)
    __and__, __rand__ = _constant_operators(np.bitwise_and)
    __or__, __ror__ = _constant_operators(np.bitwise_or)
    __xor__, __rxor__ = _constant_operators(np.bitwise_xor)
    __lshift__, __rlshift__ = _constant_operators(np.left_shift)
    __rshift__, __rrshift__ = _constant_operators(np.right_shift)
    def __divmod__(self, other: ArrayLike) -> Any: return OPS[np.divmod](self, other)
    def __rdivmod__(self, other: ArrayLike) -> Any: return OPS[np.divmod](other, self)
    def __invert__(self) -> Any: return OPS[np.invert](self)
    def __round__(self, digits: int | None = None) -> Any: return OPS[np.round](self, digits or 0)
    def __neg__(self) -> Tensor: return apply(OPS[np.negative], (self,))
    def __pos__(self) -> Tensor: return apply(OPS[np.positive], (self,))
    def __abs__(self) -> Tensor: return apply(OPS[np.absolute], (self,))
    # fmt: on

    # ---- methods, where ndarray has them -------------------------------------------------------

    def reshape(self, *shape: int | Sequence[int] | Array) -> Tensor:
        """Return the elements in another shape, in which one length may be -1: what is left."""
        wanted = shape[0] if len(shape) == 1 else shape
        return op(np.reshape)(self, shape=wanted)

    def transpose(self, *axes: int | Sequence[int] | Array | None) -> Tensor:
        """Return this tensor with its axes in the order given, or reversed if none is."""
        order = axes[0] if len(axes) == 1 else axes or None
        return op(np.transpose)(self, axes=order)

    # fmt: off
    sum, prod, mean, var, std = map(_differentiable, (np.sum, np.prod, np.mean, np.var, np.std))
    max, min, clip, sort = map(_differentiable, (np.max, np.min, np.clip, np.sort))
    cumsum, cumprod = map(_differentiable, (np.cumsum, np.cumprod))
    swapaxes, squeeze = map(_differentiable, (np.swapaxes, np.squeeze))
    ravel, flatten, repeat = map(_differentiable, (np.ravel, np.ravel, np.repeat))
    dot, trace, diagonal = map(_differentiable, (np.dot, np.trace, np.diagonal))
    take, partition, astype = map(_differentiable, (np.take, np.partition, np.astype))
    copy, conj = map(_differentiable, (np.copy, np.conjugate))
    argmax, argmin, argsort = map(_constants, (np.argmax, np.argmin, np.argsort))
    argpartition, searchsorted = map(_constants, (np.argpartition, np.searchsorted))
    all, any, round = map(_constants, (np.all, np.any, np.round))
    nonzero: Callable[..., tuple[Array, ...]] = _method(np.nonzero)
    # fmt: on

    @property
    def at(self) -> At:
        """The start of a functional update: `x.at[i].set(v)`, `x.at[i].add(v)` are new tensors."""
        return At(self)


@hints.elsewhere
class At:
    """The place of a functional update: what `x.at` and `x.at[i]` are."""

    __slots__ = ("_index", "_tensor")

    def __init__(self, t: Tensor, index: Index = ...) -> None:
        self._tensor, self._index = t, index

    def __getitem__(self, index: Index) -> At:
        return At(self._tensor, index)

    def set(self, value: ArrayLike) -> Tensor:
        """Return a copy with `value` at the index."""
        return op(At.set)(self._tensor, value, index=self._index)

    def add(self, value: ArrayLike) -> Tensor:
        """Return a copy with `value` added at the index, once for every time it is named."""
        return op(At.add)(self._tensor, value, index=self._index)

    def multiply(self, value: ArrayLike) -> Tensor:
        """Return a copy multiplied by `value` at the index, where each place is named once."""
        return op(At.multiply)(self._tensor, value, index=self._index)

    def _is_no_value(self, *others: object, **more: object) -> NoReturn:
        raise TypeError(
            "x.at[i] is a place, no value: write x[i] for what is there, and x.at[i].set(v), "
            ".add(v) or .multiply(v), with brackets after `at`, for a new tensor"
        )

    # fmt: off
    __call__ = __setitem__ = __array__ = __float__ = __neg__ = __abs__ = _is_no_value
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _is_no_value
    __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = _is_no_value
    __lt__ = __le__ = __gt__ = __ge__ = __iter__ = _is_no_value
    # fmt: on


def tensor(
    data: ArrayLike,
    requires_grad: bool = False,
    *,
    dtype: DType = None,
    name: str | None = None,
) -> Tensor:
    """Return a new leaf that holds a copy of `data`.

    Arrays and NumPy scalars keep their dtype; Python floats, alone or in lists, take the default
    dtype. Only real floating tensors can require gradients.

    >>> tensor([[1.0, 2.0]], requires_grad=True)
    tensor([[1., 2.]], requires_grad=True)
    """
    if not isinstance(requires_grad, (bool, np.bool_)):
        raise TypeError(
            f"tensor: requires_grad must be True or False, not {requires_grad!r}; write "
            "tensor([a, b]) for several numbers, dtype=np.float32 for a dtype"
        )
    if watching and isinstance(data, Tensor) and tracing():
        return _traced_leaf(data, requires_grad, dtype, name)
    given = taken_out(data)
    if given is not data:
        leaving.new_leaf(data, current())
    require_plain(given, "a tensor", "holds")
    array = np.array(given, dtype=dtype)
    if dtype is None and array.dtype == float and not holds_numpy(given):
        array = array.astype(get_default_dtype())
    if requires_grad:
        require_real(array.dtype)
    return _leaf(real(array, "a tensor", "holds"), requires_grad, name, bool(requires_grad))


def _traced_leaf(t: Tensor, requires_grad: bool, dtype: DType, name: str | None) -> Tensor:
    """Return a leaf as `tensor` does, whose numbers whoever traces knows to be those of `t`."""
    leaf = op(np.copy)(t.detach() if dtype is None else op(np.astype)(t.detach(), dtype))
    leaf.name, leaf._given = name, bool(requires_grad)
    leaf.requires_grad = requires_grad
    return leaf


def as_tensor(x: Any) -> Tensor:
    """Return a Tensor as it is, and anything else as a constant that shares its memory."""
    return x if isinstance(x, Tensor) else Tensor(_constant(x, "a tensor", "holds"))


def as_floating(x: Any) -> Tensor:
    """Return a floating Tensor as it is, anything else as one; whole numbers become float64."""
    t = as_tensor(x)
    return t if t.dtype.kind == "f" else t.astype(float)


def label(**tensors: Tensor) -> None:
    """Name tensors as their variables: `label(i=i, f=f)`; pictures and reports use the names."""
    for name, t in tensors.items():
        t.name = name
        _note_name(t)


_NAMED: dict[int, tuple[weakref.ref[Array], str | None]] = {}  # arrays, as long as they are there


def _note_name(t: Tensor) -> None:
    if not t.live:
        key = id(t.value)
        _NAMED[key] = weakref.ref(t.value, lambda _: _NAMED.pop(key, None)), t.name


def named(array: Any) -> str | None:
    """Return the name of the constant tensor that this very array was made for, if it has one."""
    known, name = _NAMED.get(id(array), (None, None))
    return name if known is not None and known() is array else None


def apply(primitive: Any, args: Sequence[Any], params: Mapping[str, Any] = _NO_PARAMS) -> Tensor:
    """Run a primitive on `args` (Tensors, arrays, numbers) and record it if any of them is live."""
    if len(args) == 1 and isinstance(a := args[0], Tensor):  # most operations, and soon done
        return _run(primitive, args, (a.value,), params, a.live)
    xs, live, tensors, weak = [], False, True, _WEAK if len(args) > 1 else ()
    for a in args:
        if isinstance(a, Tensor):
            xs.append(a.value)
            live = live or a.live
        else:
            xs.append(a if type(a) in weak else _constant(a, primitive.name, "takes"))
            tensors = False
    if live and not tensors:
        args = [a if isinstance(a, Tensor) else None for a in args]
    return _run(primitive, args, tuple(xs), params, live)


def _run(primitive: Any, inputs: Any, xs: tuple[Any, ...], params: Any, live: bool) -> Tensor:
    try:
        value = primitive.forward(*xs, **params) if params else primitive.forward(*xs)
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise explained(placed(primitive.name), xs, params, error) from error
    if type(value) is not _ndarray:
        if isinstance(value, tuple):
            return _several(primitive, inputs, xs, params, live, value)  # type: ignore[no-any-return]
        value = real(np.asarray(value), primitive.name, "gives")
    t = _new(Tensor)  # as Tensor(value, True)._made_by(...) would, in half the time
    if live and (context := current()).recording:
        t.value, t.primitive, t.inputs, t.xs, t.params = value, primitive, inputs, xs, params
        t.live, t.scope, t.index, t.grad, t.name = True, context.scope, _next_index(), None, None
    else:
        t.value, t.primitive, t.inputs, t.xs, t.params = value, None, (), (), _NO_PARAMS
        t.live, t.scope, t.index, t.grad, t.name = False, None, _next_index(), None, None
    if watching:
        _show(t, primitive, inputs, xs, params)
    return t


def _show(t: Tensor, primitive: Any, inputs: Any, xs: tuple[Any, ...], params: Any) -> None:
    if observer := current().observer:
        observer.result(t, primitive, inputs, xs, params)


def _several(
    primitive: Any, inputs: Any, xs: tuple[Any, ...], params: Any, live: bool, values: Any
) -> Any:
    """Return the outputs of a primitive with several as a tuple, of the kind that it gave."""
    context = current()
    t = Tensor(Outputs([np.asarray(v) for v in values]), live and context.recording)  # type: ignore[arg-type]
    if t.live:
        t._made_by(primitive, inputs, xs, params, context.scope)
    _show(t, primitive, inputs, xs, params)
    tensors = t.opened() if t.live else [Tensor(v) for v in t.value]
    return values._make(tensors) if hasattr(values, "_make") else tuple(tensors)


def made_by(
    value: Array,
    primitive: Any = None,
    inputs: Any = (),
    xs: Any = (),
    params: Any = _NO_PARAMS,
    scope: Any = None,
) -> Tensor:
    """Return a new tensor, recorded as the result of a primitive, or a constant; in short time."""
    t, live = _new(Tensor), primitive is not None
    t.value, t.primitive, t.inputs, t.xs, t.params = value, primitive, inputs, xs, params
    t.live, t.scope, t.index, t.grad, t.name = live, scope, _next_index(), None, None
    return t


def was_given(t: Tensor) -> bool:
    """Whether a tensor was given by `tensor`, not computed; a module counts it as its state."""
    return hasattr(t, "_given")


def was_trained(t: Tensor) -> bool:
    """Whether a tensor was given, and ever required a gradient: a parameter, frozen or not."""
    return getattr(t, "_given", False)


def _leaf(value: Any, live: bool, name: str | None, given: bool | None) -> Tensor:
    """Return a new leaf; `given`: whether it was trained, None if it was computed."""
    t = Tensor(value, live, name)
    if given is not None:
        t._given = given
    if name:
        _note_name(t)
    return t


def _restored(value: Any, live: bool, name: str | None, grad: Any, given: bool | None) -> Tensor:
    t = _leaf(np.array(value), live, name, given)
    t.grad = grad
    return t


def value_of(x: Any) -> Any:
    """Take the array out of a Tensor; give anything else back as it is."""
    if not isinstance(x, Tensor):
        return x
    if watching:
        _taken(x)
    return x.value


def numbers_of(x: Any) -> Any:
    """Return the array of a Tensor, to compute with outside the graph, and anything else as it is.

    Where a program is traced, a constant tensor is returned, so that the program computes it, too.
    """
    return x.detach() if isinstance(x, Tensor) and watching and tracing() else value_of(x)


def _taken(t: Tensor, how: str = "") -> None:
    if (tracer := tracing()) is not None:
        tracer.taken(t, how)


def constant_of(function: Any, args: Sequence[Any], params: Mapping[str, Any] = _NO_PARAMS) -> Any:
    """Return what a function without a derivative gives, as whoever traces writes it down.

    None if nobody does, or nothing that is traced is among the arguments.
    """
    if (tracer := tracing()) is not None:
        found = tracer.constant(function, args, params)
        if found is not NotImplemented:
            return found
    return None


def checked(check: Callable[..., None], *args: Any) -> None:
    """Call a function that raises an error if the numbers in arrays or tensors are wrong.

    It looks at arrays. A program that is traced here will call it, too.
    """
    if (tracer := tracing()) is not None:
        tracer.checked(check, args)
    else:
        check(*map(value_of, args))


def taken_out(x: Any) -> Any:
    """Return the array of a Tensor for a leaf to hold: TypeError if a transform would lose it."""
    if isinstance(x, Tensor) and leaving.must_stay(x, current()):
        raise leaving.no_array(x)
    return value_of(x)


def plain_index(index: Index) -> Any:
    """Take the arrays out of an index that holds Tensors, and make lists into arrays."""
    if type(index) in _PLAIN:
        return index
    if isinstance(index, tuple):
        return tuple([k if type(k) in _PLAIN else plain_index(k) for k in index])
    if isinstance(index, list):
        require_plain(index, "an index", "takes")
        places = np.asarray(index)
        return places if places.size else places.astype(int)
    require_plain(index, "an index", "takes")
    return value_of(index)


def cotangent_for(t: Tensor, grad: Any, caller: str) -> Any:
    """Check a cotangent of `t`, or make the 1 that a one-element `t` may leave out."""
    if grad is None:
        if t.value.size != 1:
            raise ValueError(
                f"backward() of a tensor of shape {t.shape} needs a cotangent of that shape; "
                "pass one, or reduce the tensor to one number first, as in t.sum().backward()"
            )
        return np.ones_like(t.value)
    g = grad if isinstance(grad, Tensor) else plain(grad, caller, "takes")
    if g.shape != t.shape:
        raise ValueError(
            f"{caller} of shape {g.shape} for a tensor of shape {t.shape}; write one of that shape"
        )
    return tape.cast(g, t.dtype) if t.dtype.kind == "f" else g  # to a constant, nothing flows


def _operation(function: Any, options: Mapping[str, Any]) -> Callable[..., Any]:
    try:
        operation = OPS[function]
    except (KeyError, TypeError):
        error = leaving.no_derivative(function)
        raise leaving.not_recorded(error) if tracing() else error from None
    if (out := options.get("out")) is not None:
        outs = out if isinstance(out, tuple) else (out,)
        if any(isinstance(o, Tensor) for o in outs) or not hasattr(operation, "is_constant"):
            raise leaving.no_writing(function)
    return operation


@functools.cache
def _alike(function: Callable[..., Any]) -> Sequence[Any]:
    """List what comes by position until NumPy's function and the operation differ in it.

    The `hermitian` of `np.linalg.pinv(t, None, True)` would be taken for another option of ours.
    """
    try:
        theirs = inspect.signature(function).parameters.values()
    except ValueError:  # a built-in function of NumPy before 2.4
        return range(sys.maxsize)
    ours = inspect.signature(OPS[function]).parameters.values()
    alike = []
    for a, b in zip(theirs, ours, strict=False):
        if inspect.Parameter.VAR_POSITIONAL in (a.kind, b.kind):
            return range(sys.maxsize)
        has_name = a.kind is not a.POSITIONAL_ONLY
        if (has_name and a.name != b.name) or b.kind is b.KEYWORD_ONLY:
            break
        alike.append(b.name)
    return alike


def _constant(x: Any, who: str, verb: str) -> Array:
    if isinstance(x, (list, tuple)) and any(isinstance(a, Tensor) for a in x):
        raise TypeError(f"{who} {verb} no list of tensors; join them first with mg.stack")
    return plain(x, who, verb)


def holds_numpy(data: Any) -> bool:
    """Whether something, or what its lists hold, has a dtype already."""
    if isinstance(data, (list, tuple)):
        return any(map(holds_numpy, data))
    return isinstance(data, (np.ndarray, np.generic, Tensor))
