"""`docs/reference.md` is what the docstrings and the signatures say of every public name.

If a docstring or a type has changed, this renews the page (`make reference`):

    python -m tests.test_reference
"""

import importlib
import inspect
import re
from itertools import chain
from pathlib import Path

from tests.helpers import assert_current
from tests.public import Default, aliases, annotation, names

FILE = Path(__file__).parents[1] / "docs" / "reference.md"

HEAD = """# Reference

Every public name, how it is called, and the first line of its docstring; `help(name)` shows all of
it. `mg` is `minigrad`. Operations are functions (`mg.tanh(t)`), many are methods (`t.sum(axis=0)`),
and NumPy's own functions (`np.tanh(t)`) are the same operations. Written by `make reference`.
"""

SECTIONS = {
    "Tensors": {
        "core/tensor": "Tensor",
        "core/context": "What surrounds an operation",
        "core/random": "Random numbers",
        "core/dtypes": "Dtypes",
        "guard/errors": "Warnings",
    },
    "Operations": {
        "ops/elementwise": "Elementwise",
        "ops/special": "Special functions",
        "ops/reduce": "Reductions",
        "ops/order": "Order",
        "ops/series": "Along an axis",
        "ops/shape": "Shapes",
        "ops/index": "Indexing",
        "ops/linalg": "Products",
        "ops/einsum": "Einsum",
        "ops/solve": "Linear systems",
        "ops/decompose": "Factorisations",
        "ops/norms": "Norms",
        "ops/fft": "Fourier transforms",
        "ops/conv": "Convolutions and pooling",
        "ops/embed": "Tables and noise",
        "ops/constant": "Constant to the graph",
    },
    "Derivatives": {
        "transforms/autodiff": "Transforms",
        "transforms/flatten": "Transforms",
        "transforms/constants": "Transforms",
        "transforms/scan": "Loops and memory",
        "transforms/checkpoint": "Loops and memory",
        "compiler/compiled": "Compiled functions",
        "instrument/numpy_code": "NumPy code as it stands",
        "ops/families": "Primitives of your own",
        "core/primitive": "What a primitive is",
        "check/custom": "Backward passes of your own",
    },
    "Neural networks": {
        "nn/module": "Module",
        "nn/state": "Module",
        "nn/containers": "Modules of modules",
        "nn/layers": "Layers",
        "nn/norms": "Normalisation",
        "nn/init": "Initial values",
        "nn/activations": "Activations",
        "nn/attention": "Attention",
        "nn/transformer": "Attention",
        "nn/recurrent": "Recurrent layers",
        "nn/cells": "Recurrent cells",
        "nn/conv": "Convolutional layers",
        "nn/resizing": "Convolutional layers",
        "nn/losses": "Losses",
        "nn/loss_modules": "Losses as modules",
    },
    "Training": {
        "optim/methods": "Optimisers",
        "optim/optimizer": "What optimisers have in common",
        "optim/lr_scheduler": "Schedules",
        "optim/schedule": "What schedules have in common",
        "optim/clipping": "Clipping",
        "optim/averaging": "Averages of weights",
        "optim/scipys": "SciPy's minimisers",
        "data/loader": "Data in batches",
        "data/arrays": "Data once through",
        "data/series": "Series in time",
        "train/loop": "The loop",
        "train/history": "What the loop saw",
        "train/callbacks": "What it calls",
        "metrics": "Metrics",
        "parallel": "Several processes",
        "io/weights": "Files of weights",
        "io/checkpoint": "Checkpoints",
        "interop": "ONNX",
    },
    "Checks": {
        "check/compare": "Manual against automatic",
        "check/passes": "A backward pass beside its forward pass",
        "check/rows": "Rows of a report",
        "explain/explanation": "Explanations",
        "explain/listing": "The annotated backward pass",
        "explain/traced": "The annotated backward pass",
        "explain/case": "The first divergence",
        "check/chain_rule": "The chain rule",
        "check/gradients": "Central differences",
        "check/laws": "The laws",
        "check/debug": "Debug mode",
        "bptt": "Backpropagation through time by hand",
    },
    "Pictures": {
        "viz/dot": "Graphviz",
        "viz/fit": "How much is drawn",
        "viz/html": "The page",
        "viz/training": "Over training",
        "viz/text": "Text",
        "viz/modules": "Modules",
        "viz/flow": "Gradient flow",
        "viz/export": "Exports",
        "graph/graph": "The graph",
    },
}
"""The sections, the files in each, and what a file's part of the page is called."""

PAGES = {page: importlib.import_module(f"minigrad.{page.replace('/', '.')}")
         for pages in SECTIONS.values() for page in pages}  # fmt: skip


def stated(public):
    """Return the file that states a public name."""
    value = public.value
    where = getattr(value, "__module__", "").removeprefix("minigrad.").replace(".", "/")
    if where in PAGES and any(value is v for v in vars(PAGES[where]).values()):
        return where
    found = [
        page for page, module in PAGES.items()
        if any(getattr(module, name) is value for name in getattr(module, "__all__", ()))
    ]  # fmt: skip
    assert found, f"{public.name} is stated in {where}: give it a place in SECTIONS"
    return found[0]


def written(public):
    """Write how a name is called, with the annotations as they are in the source."""
    result = f" -> {public.returned}" if public.returned else ""
    if public.kind == "property":
        return f"{public.name}{result.replace(' -> ', ': ')}"
    if public.called is None:
        return public.name
    parts, kinds = [], [p.kind for p in public.parameters]
    for k, p in enumerate(public.parameters):
        if p.kind is p.KEYWORD_ONLY and not {p.KEYWORD_ONLY, p.VAR_POSITIONAL} & {*kinds[:k]}:
            parts.append("*")
        stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        text = annotation(p.annotation, public.name)
        typed = f"{stars}{p.name}: {text}" if text else f"{stars}{p.name}"
        equals = " = " if text else "="
        parts.append(typed if p.default is p.empty else f"{typed}{equals}{Default(p.default)!r}")
    return f"{public.name}({', '.join(parts)}){'' if public.kind == 'class' else result}"


def said(public):
    """Return the first line of the name's own docstring, as Markdown."""
    line = (public.value.__doc__ or "").strip().partition("\n")[0].removesuffix(":")
    return "".join(
        part if part.startswith("`") else re.sub(r"([*<])", r"\\\1", part)
        for part in re.split(r"(`[^`]*`)", line)
    )


def entries():
    """Sort public names by file: each with the other names for it, and with a class's members."""
    found, heads = {page: [] for page in PAGES}, {}
    for public in names():
        head = heads.get(public.name.rpartition(".")[0])
        if head is not None:
            head[2].append(public)
        elif (known := heads.get(id(public.value))) is not None:
            known[1].append(public.name)
        else:
            entry = public, [], []
            found[stated(public)].append(entry)
            heads[id(public.value)] = entry
            if public.kind == "class":
                heads[public.name] = entry
    return found


def lines(public, others, members):
    """Write a name, what it is also called, and the members of a class below it."""
    also = f" Also {', '.join(f'`{name}`' for name in others)}." if others else ""
    doc = said(public) if public.called or public.kind == "class" else f"A {public.kind}."
    yield f"- `{written(public)}`<br>{doc}{also}"
    for member in members:
        if member.kind != "attribute":
            short = member._replace(name=member.name.removeprefix(public.name))
            yield f"  - `{written(short)}` {said(member)}".rstrip()
    attributes = [m.name.rpartition(".")[2] for m in members if m.kind == "attribute"]
    if attributes:
        yield f"  - Attributes: {', '.join(f'`{name}`' for name in attributes)}."


def used(text):
    """List the aliases that the code in a text has in it, by name."""
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]*`", text))))
    return [(name, alias) for name, alias in sorted(aliases().items()) if name in words]


def anchor(heading):
    return re.sub(r"[^a-z0-9-]", "", heading.lower().replace(" ", "-"))


def page():
    """Write the page of the repository."""
    found = entries()
    out = []
    for section, pages in SECTIONS.items():
        out += ["", f"## {section}"]
        for page, heading in pages.items():
            doc = PAGES[page].__doc__.splitlines()[0]
            out += ["", f"### {heading}", "", f"{doc} [`{page}.py`](../minigrad/{page}.py)", ""]
            out += [line for entry in found[page] for line in lines(*entry)]
    types = [f"- `{name}` is `{what}`<br>{doc}" for name, (what, doc) in used("\n".join(out))]
    contents = [
        f"- [{section}](#{anchor(section)}): "
        + ", ".join(f"[{h}](#{anchor(h)})" for h in pages.values())
        for section, pages in SECTIONS.items()
    ]
    head = [HEAD, *contents, "- [Types](#types)"]
    return "\n".join([*head, *out, "", "## Types", "", *types]) + "\n"


def test_every_public_name_has_a_docstring():
    """So has every type that the signatures name; a method may have that of what it replaces."""
    documented = ("function", "class", "method", "property")
    bare = [
        public.name
        for entry, _, members in chain(*entries().values())
        for public in (entry, *members)
        if public.kind in documented
        and not (said(public) or (public.kind == "method" and inspect.getdoc(public.value)))
    ]
    bare += [f"the type {name}" for name, (_, doc) in used(page()) if not doc]
    assert not bare, f"without a docstring: {', '.join(bare)}"


def test_the_page_is_current():
    assert_current(FILE, page())


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(page(), encoding="utf-8")
