"""Module: a function with parameters, which names what it computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.context import scope
from ..core.tensor import Tensor, value_of

__all__ = ["Module"]


class Module:
    """Base of all with parameters: assign tensors and modules to attributes, and write `forward`.

    A leaf tensor held by an attribute (or in a list, tuple or dict that one holds) is a parameter
    if it requires gradients and a buffer otherwise; both are part of the state. Attributes give the
    names: parameters theirs ("layers[0].weight"), calls the scopes that pictures and reports cite.

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
        for path, part in _held(value, name):
            if isinstance(part, Module) and part._label is None:
                object.__setattr__(part, "_label", path)
            elif isinstance(part, Tensor) and part.name is None:
                part.name = path
        object.__setattr__(self, name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with scope(self._label or type(self).__name__.lower(), owner=self):
            return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward method")

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
        seen: set[Tensor] = set()
        for path, module in self.named_modules():
            for attribute, value in vars(module).items():
                for name, t in _held(value, attribute):
                    if isinstance(t, Tensor) and t.primitive is None and t not in seen:
                        seen.add(t)
                        yield (f"{path}.{name}" if path else name), t

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter once, by name; what optimisers and comparisons take."""
        return ((name, t) for name, t in self._named_tensors() if t.requires_grad)

    def parameters(self) -> list[Tensor]:
        return [t for _, t in self.named_parameters()]

    def zero_grad(self) -> None:
        """Forget all gradients, those of frozen parameters too."""
        for _, t in self._named_tensors():
            t.grad = None

    def train(self, mode: bool = True) -> Module:
        """Switch this module and those below it to training (or, with False, to evaluation)."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        return self.train(False)

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Copy every parameter and buffer into a dict of arrays."""
        return {name: t.numpy() for name, t in self._named_tensors()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy arrays of these names into the module; nothing changes unless all of them fit."""
        own = dict(self._named_tensors())
        problems = [f"missing {name}" for name in own if name not in state]
        problems += [f"unexpected {name}" for name in state if name not in own]
        for name, t in own.items():
            if name in state and np.shape(state[name]) != t.shape:
                problems.append(f"{name} has shape {np.shape(state[name])}, expected {t.shape}")
        if problems:
            raise ValueError(
                f"the state does not fit this {type(self).__name__}: " + "; ".join(problems)
            )
        for name, t in own.items():
            t.data = np.array(value_of(state[name]), dtype=t.dtype)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}("]
        for name, value in vars(self).items():
            for path, part in _held(value, name):
                if isinstance(part, Module):
                    lines.append(f"  {path}: " + repr(part).replace("\n", "\n  "))
                elif isinstance(part, Tensor) and part.primitive is None:
                    lines.append(f"  {path}: {part.shape} {part.dtype}")
        return "\n".join([*lines, ")"])


def _held(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The tensors and modules that an attribute holds, by name."""
    if isinstance(value, (Tensor, Module)):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for k, part in enumerate(value):
            yield from _held(part, f"{name}[{k}]")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _held(part, f"{name}.{key}")
