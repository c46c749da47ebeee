"""The interactive page: one file, which needs no network and no other program.

The graph stands in the page as the JSON of `minigrad.viz.export`; the script beside this file lays
it out. A content-security policy lets this script run, and nothing else: no names in the graph can
become code, and nothing is loaded or sent.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ..core.tensor import Tensor
from ..graph.graph import Graph, Tensors
from ..graph.stats import Cotangents, Measured
from ..graph.times import whole
from . import colours
from .export import as_data, dumps
from .findings import address, broken, findings, said, worst
from .fit import boxes_by_depth, keeping
from .scene import Agreement, Scene

__all__ = ["Page", "Remark", "as_html", "show"]

Remark: TypeAlias = tuple[str, str, Tensor | None]
"""A sentence, the line of source that it is about (or ""), the tensor to mark (or None)."""

HISTOGRAMS = 2000  # up to so many nodes, the page has histograms
TOKEN = re.compile(
    r"""("(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`"""  # strings and templates
    r"""|(?<=[(,=:])\s*/(?:[^/\\\n\[]|\\.|\[(?:[^\]\\]|\\.)*\])+/[gim]*)"""  # regular expressions
    r"""|//[^\n]*|\s+"""
)
PARTS = Path(__file__).parent / "page"
SCRIPTS = ("numbers", "view", "layout", "drawing", "panels", "save", "page")  # one after the other
OPEN_BOXES = 150  # scopes are shut at first until no more are left
SHORT_NAMES = {
    "errors": "error", "grads": "|g|", "values": "rms", "time": "time", "flops": "FLOPs",
    "bytes": "bytes", "kept": "kept",
}  # fmt: skip
COSTS = {
    "time": "time", "flops": "FLOPs", "bytes": "bytes read and written",
    "kept": "bytes kept for backward",
}  # fmt: skip


class Page:
    """A page with a graph; a notebook shows it in a frame of its own, `text` is the HTML."""

    def __init__(self, text: str, path: Path | None = None) -> None:
        self.text, self.path = text, path

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file, and return its path."""
        self.path = Path(path)
        self.path.write_text(self.text, encoding="utf-8")
        return self.path

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.text)}" sandbox="allow-scripts allow-downloads" '
            'style="width:100%;height:640px;border:1px solid #cbd5e1"></iframe>'
        )

    def __repr__(self) -> str:
        where = f" in {self.path}" if self.path else ", not saved: page.save('graph.html')"
        return f"<graph page, {len(self.text) / 1000:,.0f} kB{where}>"


def show(
    outputs: Tensors,
    path: str | os.PathLike[str] | None = None,
    *,
    fold: bool = True,
    grads: bool | Cotangents = None,
    agreement: Agreement | None = None,
    tolerance: float | None = None,
    remarks: Sequence[Remark] = (),
    histograms: bool | None = None,
    time: bool = False,
) -> Page:
    """Return an interactive page of the graph behind a Tensor, or a container of them.

    It is written to `path`, if there is one, and a notebook shows it. `fold`, `grads` and
    `agreement` are as in `draw`; errors up to the `tolerance`, by default that of `compare` for the
    dtype, have the colour of what agrees. `remarks` stand at the top: triples of a sentence, the
    line of source that it is about, or "", and the tensor whose box is marked, or None. Histograms
    are for up to 2,000 nodes unless said otherwise. `time` measures how long every operation takes,
    forward and, where there are gradients, backward. ValueError for a tolerance that is not in
    (0, 1), and for a remark on a tensor that is not in the graph.
    """
    if tolerance is not None and not 0 < tolerance < 1:
        raise ValueError(f"show: the tolerance must be between 0 and 1, not {tolerance}")
    with keeping():
        graph = Graph(outputs, fold, inside=True)
        if histograms is None:
            histograms = len(graph.nodes) <= HISTOGRAMS
        scene = Scene(graph, Measured(graph, grads, histograms, time), agreement)
        scene.tolerance = tolerance or scene.tolerance
        page = Page(as_html(scene, remarks))
    if path is not None:
        page.save(path)
    return page


def as_html(scene: Scene, remarks: Sequence[Remark] = ()) -> str:
    """Return the text of the page that shows a scene, with what is said at its top."""
    style, script, body = _page_parts()
    look = _look(scene) | {"said": said(scene, remarks)}
    content = {"graph": as_data(scene), "look": look}
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            f"img-src blob:; script-src 'sha256-{_digest(script)}'; "
            f"style-src 'sha256-{_digest(style)}'; "
            "base-uri 'none'; form-action 'none'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>graph</title><style>{style}</style></head><body>",
            f"<noscript>{html.escape(_in_words(scene, content))}</noscript>",
            body,
            f'<script type="application/json" id="data">{dumps(content)}</script>',
            f"<script>{script}</script></body></html>",
        ]
    )


def _in_words(scene: Scene, content: dict[str, Any]) -> str:
    """Return what stands in the page where no script runs."""
    title, first = content["graph"]["title"], [text for text, _, _ in content["look"]["said"]]
    return " ".join([
        f"The computation graph of {title or 'nothing'}: {len(scene.graph.nodes):,} nodes in "
        f"{len(scene.boxes):,} boxes.", *first, "The script in this page draws it, but scripts do "
        "not run here; minigrad's viz.draw gives a picture without one, viz.summary a text.",
    ])  # fmt: skip


def _look(scene: Scene) -> dict[str, Any]:
    """Return how the page colours, and how deep it is open at first."""
    totals = _totals(scene)
    costs = {key: colours.share_scale(f"share of {COSTS[key]}") for key in totals}
    scales = {
        key: {
            "name": scale.name, "short": SHORT_NAMES[key], "palette": scale.palette,
            "low": scale.low, "high": scale.high, "signs": "".join(scale.signs),
            "ends": ("≤ 0.1 %", "100 %") if key in costs else scale.ends,
            "meaning": ", ".join([f"{sign} {words}" for sign, words in scale.signs.items()]),
        }
        for key, scale in (scene.scales() | costs).items()
    }  # fmt: skip
    levels = boxes_by_depth(scene.graph)
    fitting = [d for d, boxes in enumerate(levels) if boxes <= OPEN_BOXES]
    level = len(levels) if levels[-1] <= OPEN_BOXES else max(fitting, default=0)
    lists = {  # text, number, node, name of the node
        "first": [(what, size, k, address(scene, k)) for what, size, k in findings(scene)],
        "broken": [(f"{kind} of", "", k, where) for kind, k, where in broken(scene)[:30]],
        "worst": [(error, text, k, address(scene, k)) for k, error, text in worst(scene, 50)],
    }
    ink = {"zero": colours.ZERO, "bad": colours.BAD}
    return {"scales": scales, "totals": totals, "level": level} | ink | lists


def _totals(scene: Scene) -> dict[str, float]:
    """Return what the whole graph costs, where there is something to share."""
    totals: dict[str, float] = {}
    if scene.measured.times:
        totals["time"] = sum([x for x in whole(scene.measured.times) if x is not None])
    totals |= {key: x or 0 for key, x in scene.cost([*scene.costs])._asdict().items()}
    return {key: x for key, x in totals.items() if x}


@functools.cache
def _page_parts() -> tuple[str, ...]:
    """Return style, script and body of the page, without what only people need."""
    style, body = [(PARTS / name).read_text("utf-8") for name in ("page.css", "page.html")]
    script = "\n".join([(PARTS / f"{name}.js").read_text("utf-8") for name in SCRIPTS])
    style = re.sub(r"\s*([{};:,])\s*", r"\1", " ".join(style.split())).replace(";}", "}")
    return style, squeezed(script), body.strip()


def squeezed(script: str) -> str:
    """Return the script without what only people need: comments, indents, spaces around signs.

    It is written for this: every statement ends in `;` or `}`, templates do not nest, and strings,
    templates and regular expressions stay as they are.
    """
    kept: list[str] = []

    def word(match: re.Match[str]) -> str:
        if match[1]:
            kept.append(match[1].strip())
            return "\0"
        return " "

    text = re.sub(" +", " ", TOKEN.sub(word, script))
    text = re.sub(r" ?([{}()\[\];,=+*<>?:&|!/-]) ?", r"\1", text)
    text = re.sub(r"\((\w+)\)=>", r"\1=>", text.replace(";}", "}"))
    declarations = 1
    while declarations:  # const a=1;const b=2;
        text, declarations = re.subn(r"(?<![(\w])const ([^;]*);const\b ?", r"const \1,", text)
    rest = iter(kept)
    return re.sub("\0", lambda _: next(rest), text)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
