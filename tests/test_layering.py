"""The rooms of the package: a file imports only from its own room and from those to the left.

The list is the diagram in CONTRIBUTING. Within a room the files import one another in no circle.
"""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "minigrad"

ROOMS = """
    bptt guard | core _lazy | transforms | ops | instrument linalg fft graph | explain viz | check
    compiler testing nn | data optim metrics parallel | io | interop train | package
"""
LEVEL = {
    room: level
    for level, rooms in enumerate(" | ".join(ROOMS.strip().splitlines()).split("|"))
    for room in rooms.split()
}

FILES = sorted(PACKAGE.rglob("*.py"))


def _name(path):
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _room(name):
    return name.partition(".")[0] or "package"


def _imports(path):
    """Every module of the package that a file imports, and whether it does so at the top."""
    tree = ast.parse(path.read_text())
    typing = [node for node in tree.body if isinstance(node, ast.If)]  # if TYPE_CHECKING:
    tests = [ast.unparse(node.test) for node in typing if _imports_us(node)]
    assert {*tests} <= {"TYPE_CHECKING"}
    top = {id(node) for body in [tree.body, *[node.body for node in typing]] for node in body}
    package = _name(path) if path.name == "__init__.py" else _name(path).rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = package.split(".") if package else []
            base = ".".join(
                parts[: len(parts) - node.level + 1] + ([node.module] if node.module else [])
            )
            targets = [base]
            if not node.module or _is_package(base):
                targets = [
                    f"{base}.{alias.name}".strip(".") if _is_module(base, alias.name) else base
                    for alias in node.names
                ]
            for target in targets:
                yield target, id(node) in top
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            assert not any(n.split(".")[0] == "minigrad" for n in names), (
                f"{path.name}: relative please"
            )


def _imports_us(node):
    return any(isinstance(child, ast.ImportFrom) and child.level for child in ast.walk(node))


def _is_package(base):
    return (PACKAGE / base.replace(".", "/") / "__init__.py").exists()


def _is_module(base, name):
    folder = PACKAGE / base.replace(".", "/")
    return (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_only_from_rooms_to_the_left(path):
    name = _name(path)
    assert _room(name) in LEVEL, f"{name} has no place in the list of rooms"
    for target, at_top in _imports(path):
        assert at_top, f"{name} imports {target} inside a function"
        if _room(target) != _room(name):
            assert LEVEL[_room(target)] < LEVEL[_room(name)], f"{name} may not import {target}"


def test_no_imports_in_a_circle():
    """A room's `__init__` gathers its pages, so what the pages take from it does not count."""
    pages = [path for path in FILES if path.name != "__init__.py"]
    graph = {_name(path): {target for target, _ in _imports(path)} for path in pages}
    tuple(TopologicalSorter(graph).static_order())  # CycleError, which names the circle


def test_every_room_has_its_tests():
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    missing = [room for room in rooms if not any((Path(__file__).parent / room).glob("test_*.py"))]
    assert not missing, f"tests/ mirrors the package; no tests in {missing}"


def test_the_diagram_in_contributing_is_this_one():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = [" ".join(block.split()) for block in text.split("```")]
    assert " ".join(ROOMS.split()) in blocks


def test_the_witness_shares_no_code():
    assert list(_imports(PACKAGE / "bptt.py")) == []
