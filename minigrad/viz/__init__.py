"""Pictures of computation graphs."""

from typing import Any

from .dot import draw, drawing_classes
from .export import to_json, to_mermaid
from .fit import GraphTooLarge
from .flow import gradient_flow
from .html import show
from .model import model
from .text import summary

__all__ = [
    "DotNotFound", "GraphTooLarge", "draw", "gradient_flow", "model", "show", "summary", "to_json",
    "to_mermaid",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "DotNotFound":  # a class of graphviz's, which is imported only when drawing
        return drawing_classes()[1]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
