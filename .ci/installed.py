"""The package as users get it, run by a Python that has the built wheel, outside the checkout.

    python .ci/installed.py CHECKOUT

The tour is taken, a page and a picture of a graph are written, and types are shipped.
"""

import runpy
import sys
from pathlib import Path

import numpy as np

import minigrad as mg

checkout, package = Path(sys.argv[1]).resolve(), Path(mg.__file__).parent
assert checkout not in package.parents, f"this is the checkout's: {package}"

tour = runpy.run_path(str(checkout / "tests" / "test_tiny.py"))
for name, test in tour.items():
    if name.startswith("test_"):
        test()

x = mg.tensor(np.linspace(0.0, 1.0, 3), requires_grad=True, name="x")
loss = (np.tanh(x) ** 2).sum()
loss.backward()
mg.viz.show(loss, "graph.html")  # of parts that lie beside the module
page = Path("graph.html").read_text(encoding="utf-8")
assert "<script>" in page, "the page has no script"
assert '"x"' in page, "the page has no graph"
mg.viz.draw(loss).save("graph.dot")
assert "tanh" in mg.viz.summary(loss)
assert "tanh" in Path("graph.dot").read_text(encoding="utf-8")
for name in mg.__all__:
    getattr(mg, name)
assert (package / "py.typed").exists(), "no py.typed: type checkers would not look"
print(f"installed: minigrad {mg.__version__} in {package.parent.name}: tour, page and types")
