"""Module: a function with parameters, which names what it computes."""

from __future__ import annotations

import sys
from collections import UserList, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set, ValuesView
from dataclasses import fields, is_dataclass
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import FrameType, SimpleNamespace
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import numpy as np

from ..core.context import current, scope
from ..core.dtypes import Array
from ..core.tensor import ArrayLike, Tensor, was_given
from ..guard import hints
from ..guard.errors import GraphWarning, shown, warn
from .arguments import flag
from .inputs import called
from .state import fitted

__all__ = ["Module"]

P = ParamSpec("P")
Y = TypeVar("Y", covariant=True)


class _HasForward(Protocol[P, Y]):
    def forward(self, *args: P.args, **kwargs: P.kwargs) -> Y: ...


class _Call:
    """The type of `Module.__call__`: a module takes and returns what its `forward` does."""

    def __get__(self, module: _HasForward[P, Y], owner: type) -> Callable[P, Y]:
        raise NotImplementedError


def _typed_as_forward(call: Callable[..., Any]) -> _Call:
    return cast(_Call, call)


@hints.elsewhere
class Module:
    """Base of all with parameters: assign tensors and modules to attributes, and write `forward`.

    A tensor that `tensor` made and that an attribute holds (or a list, tuple or dict that one
    holds) is a parameter if it requires gradients and a buffer otherwise; both are the state. What
    was computed, recorded or not, is neither. Attributes give the names: parameters theirs
    ("layers[0].weight"), calls the scopes that pictures and reports cite.

    What would not be trained is not let in silently: a set or another container that gives its
    parts no names, and a computed value in a parameter's place, are refused with a TypeError; what
    `__init__` computes from tensors that require gradients is worth a warning.

    >>> import minigrad as mg
    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.factor = mg.tensor(2.0, requires_grad=True)
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> Scale()(3.0)
    tensor(6., op='multiply')
    """

    _label: str | None = None
    training: bool = True

    def __setattr__(self, name: str, value: Any) -> None:
        held = [*_held(value, name)]
        if not current().transform:
            self._stays_trained(name, value, held)
        for path, part in held:
            if isinstance(part, Module) and part._label is None:
                object.__setattr__(part, "_label", path)
            elif isinstance(part, Tensor) and part.name is None:
                part.name = path
        object.__setattr__(self, name, value)

    def _stays_trained(self, name: str, value: Any, held: list[tuple[str, Any]]) -> None:
        """See that an assignment takes no parameter away, and what looks like one is one."""
        old, who = vars(self).get(name), f"{type(self).__name__}.{name}"
        was_trained = isinstance(old, Tensor) and old.primitive is None and old.live
        is_one = value is None or any(isinstance(t, Module) or _is_state(t) for _, t in held)
        if was_trained and not is_one:
            raise TypeError(
                f"{who} is a parameter, and {shown(value)} in its place would not be trained; "
                f"write {name}.data = ... for other numbers, another mg.tensor(..., "
                f"requires_grad=True) for another parameter, or del {name} before"
            )
        if isinstance(old, Tensor) and _is_state(old) and not is_one:
            warn(
                f"{who} is a buffer, and {shown(value)} in its place is neither saved nor loaded; "
                f"write {name}.data = ... for other numbers, or del {name} before",
                GraphWarning,
            )
        if getattr(value, "__name__", "<genexpr>") == "<genexpr>" and _gives_once(value):
            warn(
                f"{who} is a {type(value).__name__}, which gives its parts once: modules in it are "
                "not trained; write a list",
                GraphWarning,
            )
        results = [(k, t) for k, t in held if isinstance(t, Tensor) and t.live and t.primitive]
        given = _given_to_init(self) if results else None
        for path, t in results:
            if given is not None and t not in given:
                warn(
                    f"{type(self).__name__}.{path} is computed in __init__: it is not trained, and "
                    "does not change with what it was made from; compute it in forward, or make a "
                    "parameter of ready numbers, mg.tensor(0.01 * array, requires_grad=True)",
                    GraphWarning,
                )

    @_typed_as_forward
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with scope(self._label or type(self).__name__.lower(), owner=self):
            try:
                return self.forward(*args, **kwargs)
            except Exception as error:  # the innermost module says where it is
                if not hasattr(error, "__notes__") and str(current().scope) not in str(error):
                    error.add_note(f"in {called(self)}")
                raise

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output: what a module defines, and `module(...)` calls in its own scope."""
        who = type(self).__name__
        raise NotImplementedError(f"{who} has no forward method; write def forward(self, x)")

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, by the path of attributes that leads to it."""
        seen: set[Module] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if module in seen:
                continue
            seen.add(module)
            yield path, module
            below = [
                (f"{path}.{name}" if path else name, part)
                for attribute, value in vars(module).items()
                for name, part in _held(value, attribute)
                if isinstance(part, Module)
            ]
            stack += reversed(below)

    def _named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter and buffer once, by name; ValueError if two have one name."""
        names: dict[Tensor, str] = {}
        tensors: dict[str, Tensor] = {}
        for path, module in self.named_modules():
            for attribute, value in vars(module).items():
                for name, t in _held(value, attribute):
                    if isinstance(t, Tensor) and _is_state(t) and t not in names:
                        names[t] = full = f"{path}.{name}" if path else name
                        if tensors.setdefault(full, t) is not t:
                            raise ValueError(
                                f"{type(self).__name__}: two tensors have the name {full!r}; "
                                "rename a key or an attribute"
                            )
                        yield full, t

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter once, by name; what optimisers and comparisons take."""
        return ((name, t) for name, t in self._named_tensors() if t.requires_grad)

    def parameters(self) -> list[Tensor]:
        """Every parameter once."""
        return [t for _, t in self.named_parameters()]

    def zero_grad(self) -> None:
        """Forget all gradients, those of frozen parameters too."""
        for _, t in self._named_tensors():
            t.grad = None

    def train(self, mode: bool = True) -> Module:
        """Switch this module and those below it to training (or, with False, to evaluation)."""
        mode = flag(self, "mode", mode)
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Set evaluation mode, in which nothing is dropped out, here and in all modules inside."""
        return self.train(False)

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of every parameter and buffer, by name."""
        return {name: t.numpy() for name, t in self._named_tensors()}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Copy arrays of these names into the module.

        ValueError, with nothing changed, unless all of them fit: names, shapes, and real numbers
        that the dtypes can hold (1e300 is none of float32).
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"load_state_dict: takes a dict of arrays, not {shown(state)}; write "
                "minigrad.io.load(net, path) for a file, other.state_dict() for a module"
            )
        own = dict(self._named_tensors())
        try:
            new = fitted(own, state)
        except ValueError as error:
            raise ValueError(
                f"the state does not fit this {type(self).__name__}: {error}"
            ) from None
        for name, t in own.items():
            t.data = new[name]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}("]
        for name, value in vars(self).items():
            for path, part in _held(value, name):
                if isinstance(part, Module):
                    lines.append(f"  {path}: " + repr(part).replace("\n", "\n  "))
                elif isinstance(part, Tensor) and _is_state(part):
                    lines.append(f"  {path}: {part.shape} {part.dtype}")
        return "\n".join([*lines, ")"])


def _is_parameter(part: Any) -> bool:
    return isinstance(part, Tensor) and part.primitive is None and part.live


def _is_state(t: Tensor) -> bool:
    """Whether a tensor is a parameter or a buffer, and nothing that was computed."""
    return t.primitive is None and (t.live or was_given(t))


def _gives_once(value: Any) -> bool:
    """Whether a value is what `map`, `zip`, `iter` or an expression in parentheses gives."""
    return isinstance(value, Iterator) and type(value).__module__ == "builtins"


def _given_to_init(module: Module) -> set[Tensor] | None:
    """Return the tensors that the `__init__` of a module was given; None if it is not running."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code, names = frame.f_code, frame.f_locals
        if code.co_name == "__init__" and names.get(code.co_varnames[0]) is module:
            stars = [bool(code.co_flags & flag) for flag in (CO_VARARGS, CO_VARKEYWORDS)]
            count = code.co_argcount + code.co_kwonlyargcount + sum(stars)
            given = [names.get(name) for name in code.co_varnames[1:count]]
            return {t for _, t in _held(given, "") if isinstance(t, Tensor)}
        frame = frame.f_back
    return None


def _held(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """List the tensors and modules an attribute holds, by name; TypeError if they have none."""
    if isinstance(value, (Tensor, Module)):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for k, part in enumerate(value):
            yield from _held(part, f"{name}[{k}]")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _held(part, f"{name}.{key}")
    elif any(isinstance(part, Module) or _is_parameter(part) for part in _unseen(value)):
        raise TypeError(
            f"{name}: the parameters in a {type(value).__name__} are not looked for, and would not "
            "be trained; write a list, a tuple or a dict"
        )


def _unseen(value: Any) -> Iterable[Any]:
    """List what a container holds that gives no names, or has them elsewhere."""
    if isinstance(value, np.ndarray):
        return value.flat if value.dtype == object else ()
    if isinstance(value, (Set, deque, ValuesView, UserList)):
        return value
    if isinstance(value, Mapping):  # and no dict
        return value.values()
    if isinstance(value, SimpleNamespace):
        return vars(value).values()
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in fields(value)]
    return ()
