"""Pictures of computation graphs. The pages are loaded when they are used, as drawing is rare."""

from typing import TYPE_CHECKING

from .._lazy import found as _found

_PAGES = {  # a name and the page that states it
    "DotNotFound": "dot",
    "GraphTooLarge": "fit",
    "draw": "dot",
    "gradient_flow": "flow",
    "model": "modules",
    "record": "training",
    "show": "html",
    "summary": "text",
    "to_json": "export",
    "to_mermaid": "export",
}

if TYPE_CHECKING:
    from .dot import DotNotFound as DotNotFound
    from .dot import draw as draw
    from .export import to_json as to_json
    from .export import to_mermaid as to_mermaid
    from .fit import GraphTooLarge as GraphTooLarge
    from .flow import gradient_flow as gradient_flow
    from .html import show as show
    from .modules import model as model
    from .text import summary as summary
    from .training import record as record
else:
    __all__ = [*_PAGES]

    def __getattr__(name):
        return _found(name, __name__, _PAGES)

    def __dir__():
        return __all__
