"""Pictures of computation graphs. The pages are loaded when they are used, as drawing is rare."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dot import draw
    from .export import to_json, to_mermaid
    from .flow import gradient_flow
    from .html import show
    from .modules import model
    from .room import GraphTooLarge
    from .text import summary

__all__ = [
    "DotNotFound", "GraphTooLarge", "draw", "gradient_flow", "model", "show", "summary", "to_json",
    "to_mermaid",
]  # fmt: skip

_PAGES = {
    "DotNotFound": "dot",
    "GraphTooLarge": "room",
    "draw": "dot",
    "gradient_flow": "flow",
    "model": "modules",
    "show": "html",
    "summary": "text",
    "to_json": "export",
    "to_mermaid": "export",
}


def __getattr__(name: str) -> Any:
    if name not in _PAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f".{_PAGES[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
