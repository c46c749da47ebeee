"""The options of an optimiser: numbers in a range and flags, for each group of parameters."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from typing import Any, overload

from ..guard.errors import shown
from ..nn.arguments import Number, flag, number

__all__ = ["Group", "Option"]


class Option(Number):
    """An option of every group: a number in a range, or a flag; checked whenever it is set.

    Read from the optimiser, it is what all groups have; AttributeError where they differ. Set
    there, it is set in all of them.
    """

    def __init__(self, within: str = "", *, length: int | None = None) -> None:
        super().__init__(within, length=length)

    def checked(self, who: object, value: Any) -> Any:
        """Return the value; TypeError or ValueError for one that cannot be meant."""
        return super().checked(who, value) if self.within else flag(who, self.name, value)

    @overload
    def __get__(self, instance: None, owner: type) -> Option: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Any: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        first, *others = [group[self.name] for group in instance.param_groups]
        if any(value != first for value in others):
            values = ", ".join(map(shown, [first, *others]))
            raise AttributeError(
                f"{owner.__name__}: {self.name} differs between the groups: {values}; write "
                f"opt.param_groups[0][{self.name!r}]"
            )
        return first

    def __set__(self, instance: Any, value: Any) -> None:
        new = self.checked(instance, value)
        for group in instance.param_groups:
            group[self.name] = new


class Group(UserDict[str, Any]):
    """The parameters of a group, a tuple, and its options by name, checked when they are set.

    "name" is free, and a schedule keeps the "initial_lr" here.
    """

    def __init__(self, kind: type, data: Mapping[str, Any]) -> None:
        self.kind = kind
        super().__init__(data)

    def __setitem__(self, name: str, value: Any) -> None:
        options = options_of(self.kind)
        if name in options:
            value = options[name].checked(self.kind.__name__, value)
        elif name == "initial_lr":
            value = number(self.kind.__name__, name, value, "[0, inf)")
        elif name == "params" and "params" in self:
            raise TypeError(
                f"{self.kind.__name__}: the parameters of a group stay the same, for what is "
                "remembered belongs to them; write opt.add_param_group"
            )
        elif name not in ("name", "params"):
            raise TypeError(
                f"{self.kind.__name__}: a group has no option {name!r}; there are "
                f"{', '.join(options)}"
            )
        super().__setitem__(name, value)


def options_of(kind: type) -> dict[str, Option]:
    """Return the options that an optimiser has, by name: those of its bases come first."""
    found = [vars(base).items() for base in reversed(kind.__mro__)]
    return {k: v for items in found for k, v in items if isinstance(v, Option)}
