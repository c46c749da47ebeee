"""Module: a function with parameters, which names what it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, ParamSpec, Protocol, Self, TypeVar, cast

import numpy as np

from ..core.context import changed, current, scope
from ..core.dtypes import Array, DType, require_real
from ..core.hooks import Handle
from ..core.tensor import ArrayLike, Tensor, tensor
from ..guard import hints
from ..guard.errors import GraphWarning, shown, warn
from .arguments import flag
from .description import described, of_all
from .held import (
    Holder,
    given_to_init,
    gives_once,
    held_by,
    is_parameter,
    is_state,
    warn_of_equal,
)
from .hooks import Hooks, WithKeywords
from .inputs import called
from .state import fitted

__all__ = ["Loaded", "Module"]

P = ParamSpec("P")
Y = TypeVar("Y", covariant=True)


class _HasForward(Protocol[P, Y]):
    def forward(self, *args: P.args, **kwargs: P.kwargs) -> Y: ...


class Loaded(NamedTuple):
    """What did not belong together where `load_state_dict(strict=False)` took the rest."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class _Call:
    """The type of `Module.__call__`: a module takes and returns what its `forward` does."""

    def __get__(self, module: _HasForward[P, Y], owner: type) -> Callable[P, Y]:
        raise NotImplementedError


def _typed_as_forward(call: Callable[..., Any]) -> _Call:
    return cast(_Call, call)


@hints.elsewhere
class Module(Holder):
    """Base of all with parameters: assign tensors and modules to attributes, and write `forward`.

    A tensor that `tensor` made and that an attribute holds (or a list, tuple or dict that one
    holds) is a parameter if it requires gradients, or did before it was frozen, and a buffer
    otherwise; both are the state. What was computed, recorded or not, is neither. Attributes give
    the names: parameters theirs ("head.weight", "layers[0].weight" in a list, "layers.0.weight" in
    a ModuleList), calls the scopes that pictures and reports cite.

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
        held = [*held_by(value, name)]
        if not current().transform:
            self._stays_trained(name, value, held)
        for path, part in held:
            if isinstance(part, Module) and part._label is None:
                part._labelled(path)
            elif isinstance(part, Tensor) and part.name is None:
                part.name = path
        object.__setattr__(self, name, value)
        changed()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        changed()

    def _labelled(self, path: str) -> None:
        """Take a name: what the scopes of calls are called."""
        object.__setattr__(self, "_label", path)

    def _attributes(self) -> Iterable[tuple[str, Any]]:
        """List what the module holds, by the names that stand before those of the parts."""
        return vars(self).items()

    def _stays_trained(self, name: str, value: Any, held: list[tuple[str, Any]]) -> None:
        """See that an assignment takes no parameter away, and what looks like one is one."""
        old, who = vars(self).get(name), f"{type(self).__name__}.{name}"
        was_one = isinstance(old, Tensor) and is_parameter(old)
        is_one = value is None or any(isinstance(t, Module) or is_state(t) for _, t in held)
        if was_one and not is_one:
            raise TypeError(
                f"{who} is a parameter, and {shown(value)} in its place would not be trained; "
                f"write {name}.data = ... for other numbers, another mg.tensor(..., "
                f"requires_grad=True) for another parameter, or del {name} before"
            )
        if isinstance(old, Tensor) and is_state(old) and not is_one:
            warn(
                f"{who} is a buffer, and {shown(value)} in its place is neither saved nor loaded; "
                f"write {name}.data = ... for other numbers, or del {name} before",
                GraphWarning,
            )
        if getattr(value, "__name__", "<genexpr>") == "<genexpr>" and gives_once(value):
            warn(
                f"{who} is a {type(value).__name__}, which gives its parts once: modules in it are "
                "not trained; write a list",
                GraphWarning,
            )
        results = [(k, t) for k, t in held if isinstance(t, Tensor) and t.live and t.primitive]
        given = given_to_init(self) if results else None
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
                hooks: Hooks | None = vars(self).get("_hooks")
                if hooks is None:
                    return self.forward(*args, **kwargs)
                return hooks.call(self, self.forward, args, kwargs)
            except Exception as error:  # the innermost module says where it is
                if not hasattr(error, "__notes__") and str(current().scope) not in str(error):
                    error.add_note(f"in {called(self)}")
                raise

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output: what a module defines, and `module(...)` calls in its own scope."""
        who = type(self).__name__
        raise NotImplementedError(f"{who} has no forward method; write def forward(self, x)")

    # ---- what is in it --------------------------------------------------------------------------

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
            below = [(f"{path}.{name}" if path else name, part) for name, part in module._below()]
            stack += reversed(below)

    def modules(self) -> list[Module]:
        """Return this module and all below it, each once."""
        return [module for _, module in self.named_modules()]

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that this one holds itself, each once, by name."""
        seen: set[Module] = set()
        for name, module in self._below():
            if module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> list[Module]:
        """Return the modules that this one holds itself, each once."""
        return [module for _, module in self.named_children()]

    def _below(self) -> Iterator[tuple[str, Module]]:
        for attribute, value in self._attributes():
            for name, part in held_by(value, attribute):
                if isinstance(part, Module):
                    yield name, part

    def _named_tensors(self, recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Every parameter and buffer once, by name; ValueError if two have one name."""
        names: dict[Tensor, str] = {}
        tensors: dict[str, Tensor] = {}
        modules = self.named_modules() if flag(self, "recurse", recurse) else [("", self)]
        for path, module in modules:
            for attribute, value in module._attributes():
                for name, t in held_by(value, attribute):
                    if isinstance(t, Tensor) and is_state(t) and t not in names:
                        names[t] = full = f"{path}.{name}" if path else name
                        if tensors.setdefault(full, t) is not t:
                            raise ValueError(
                                f"{type(self).__name__}: two tensors have the name {full!r}; "
                                "rename a key or an attribute"
                            )
                        yield full, t

    def named_parameters(self, recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Every parameter once, by name, frozen too; without `recurse`, of this module alone."""
        return ((name, t) for name, t in self._named_tensors(recurse) if is_parameter(t))

    def parameters(self, recurse: bool = True) -> list[Tensor]:
        """Return every parameter once, frozen ones too; without `recurse`, of this module alone.

        Two of the same numbers are worth a warning: they get the same gradient, and never differ.
        """
        found = list(self.named_parameters(recurse))
        warn_of_equal(type(self).__name__, found)
        return [t for _, t in found]

    def named_buffers(self, recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Every buffer once, by name: what is saved and not trained, as the means of BatchNorm."""
        return ((name, t) for name, t in self._named_tensors(recurse) if not is_parameter(t))

    def buffers(self, recurse: bool = True) -> list[Tensor]:
        """Return every buffer once; without `recurse`, of this module alone."""
        return [t for _, t in self.named_buffers(recurse)]

    def register_buffer(self, name: str, value: ArrayLike, persistent: bool = True) -> None:
        """Make an attribute `name` that holds a copy of `value`, and is saved, but not trained.

        `net.name = mg.tensor(value)` does the same. With `persistent=False` it is not saved.
        ValueError for what is no name.
        """
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(
                f"{type(self).__name__}.register_buffer: the name must be one of an attribute, "
                f"not {shown(name)}"
            )
        kept = flag(self, "persistent", persistent)
        setattr(self, name, tensor(value))
        left_out: frozenset[str] = vars(self).get("_not_saved", frozenset())
        object.__setattr__(self, "_not_saved", left_out - {name} if kept else left_out | {name})

    # ---- what is done to all of it --------------------------------------------------------------

    def apply(self, f: Callable[[Module], object]) -> Self:
        """Call `f` with every module, those below before those that hold them; return this one."""
        self._applied(f, set())
        return self

    def _applied(self, f: Callable[[Module], object], done: set[Module]) -> None:
        done.add(self)
        for module in self.children():
            if module not in done:
                module._applied(f, done)
        f(self)

    def requires_grad_(self, wanted: bool = True) -> Self:
        """Have every parameter trained; or, with False, frozen. Buffers stay what they are."""
        wanted = flag(self, "wanted", wanted)
        for _, p in self.named_parameters():
            p.requires_grad = wanted
        return self

    def astype(self, dtype: DType) -> Self:
        """Bring all floating parameters and buffers, in place, to another dtype; return the module.

        Their gradients go with them. TypeError for what is no real floating dtype.
        """
        require_real(np.dtype(dtype))
        for _, t in self._named_tensors():
            if t.dtype.kind == "f":
                t.value = t.value.astype(dtype)
                t.grad = None if t.grad is None else t.grad.astype(dtype)
        return self

    def zero_grad(self) -> None:
        """Forget all gradients, those of frozen parameters too."""
        for _, t in self._named_tensors():
            t.grad = None

    def train(self, mode: bool = True) -> Self:
        """Switch this module and those below it to training (or, with False, to evaluation)."""
        mode = flag(self, "mode", mode)
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode, in which nothing is dropped out, here and in all modules inside."""
        return self.train(False)

    # ---- its state ------------------------------------------------------------------------------

    def _state(self) -> dict[str, Tensor]:
        """Return every parameter and buffer that is saved, by name."""
        left_out = {
            f"{path}.{name}" if path else name
            for path, module in self.named_modules()
            for name in vars(module).get("_not_saved", ())
        }
        return {name: t for name, t in self._named_tensors() if name not in left_out}

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of every parameter and buffer, by name."""
        return {name: t.numpy() for name, t in self._state().items()}

    def load_state_dict(self, state: Mapping[str, ArrayLike], strict: bool = True) -> Loaded:
        """Copy arrays of these names into the module, and return which were missing or surplus.

        ValueError that names all that does not fit, with nothing changed: names, shapes, and what
        is no real number that the dtypes can hold (1e300 is none of float32). Without `strict`,
        what is missing stays as it is, and what is unexpected is left alone. A tensor that is held
        in two places may have the name of either, or both, as in PyTorch.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"load_state_dict: takes a dict of arrays, not {shown(state)}; write "
                "minigrad.io.load(net, path) for a file, other.state_dict() for a module"
            )
        own = self._state()
        state = self._by_own_names(state)
        missing, unexpected = [k for k in own if k not in state], [k for k in state if k not in own]
        if not flag(self, "strict", strict):
            own = {k: t for k, t in own.items() if k in state}
            state = {k: state[k] for k in own}
        try:
            new = fitted(own, state)
        except ValueError as error:
            raise ValueError(
                f"the state does not fit this {type(self).__name__}: {error}"
            ) from None
        for name, t in own.items():
            t.data = new[name]
        return Loaded(missing, unexpected)

    def _by_own_names(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return a state in which what is held in several places has the name that it has here."""
        also, found = self._own_names(), dict[str, Any]()
        for key, a in state.items():
            name = also.get(key, key)
            if name in found and not np.array_equal(np.asarray(found[name]), np.asarray(a)):
                raise ValueError(
                    f"load_state_dict: {key} and another name of {name} are one tensor in this "
                    f"{type(self).__name__}, and have different numbers in the state"
                )
            found.setdefault(name, a)
        return found

    def _own_names(self) -> dict[str, str]:
        """Return every name that leads to a tensor of the state, with the one that it has there."""
        known = {t: name for name, t in self._state().items()}
        return {name: known[t] for name, t in self._every_name() if t in known}

    def _every_name(
        self, prefix: str = "", above: tuple[Module, ...] = ()
    ) -> Iterator[tuple[str, Tensor]]:
        """List the state with every name that leads to a tensor."""
        for attribute, value in self._attributes():
            for name, part in held_by(value, prefix + attribute):
                if isinstance(part, Tensor):
                    yield name, part
                elif part not in above:
                    yield from part._every_name(f"{name}.", (*above, self))

    # ---- hooks ----------------------------------------------------------------------------------

    def register_forward_hook(
        self, hook: Callable[..., Any], *, with_kwargs: bool = False
    ) -> Handle:
        """Have `hook(module, args, output)` called after every call; return what removes it.

        Unless the hook returns None, what it returns takes the place of the output. `with_kwargs`
        it is `hook(module, args, kwargs, output)`, with the dict of the arguments by keyword.
        """
        who, hooks = f"{called(self)}.register_forward_hook", self._own_hooks().after
        if flag(self, "with_kwargs", with_kwargs) and callable(hook):
            return Handle(who, hooks, WithKeywords(hook))
        return Handle(who, hooks, hook)

    def register_forward_pre_hook(self, hook: Callable[[Any, tuple[Any, ...]], Any]) -> Handle:
        """Have `hook(module, args)` called before every call; return what removes it.

        Unless the hook returns None, what it returns takes the place of the arguments by position:
        a tuple of them, or one.
        """
        return Handle(f"{called(self)}.register_forward_pre_hook", self._own_hooks().before, hook)

    def _own_hooks(self) -> Hooks:
        if "_hooks" not in vars(self):
            object.__setattr__(self, "_hooks", Hooks())
            changed()
        return vars(self)["_hooks"]  # type: ignore[no-any-return]

    # ---- printing -------------------------------------------------------------------------------

    def _shown(self) -> Iterator[tuple[str, Any]]:
        """List what a description names: parts, state, and functions, such as activations."""
        for attribute, value in self._attributes():
            own = not hasattr(type(self), attribute) and not attribute.startswith("_")
            if own and callable(value) and not isinstance(value, (type, Module)):
                yield attribute, value
            for name, part in held_by(value, attribute):
                if isinstance(part, Module) or is_state(part):
                    yield name, part

    def __repr__(self) -> str:
        """Return a line for each module, with its arguments, and its tensors with their shapes."""
        return described(self, of_all(self))
