"""The public names with their signatures are those of `public_names.txt`.

A line is a name and how it is called, without annotations, which may become better; a name or a
parameter that is gone, renamed or new is a line in the diff. `make public-names` renews the list:

    python -m tests.test_public_names
"""

import inspect
from pathlib import Path

from tests.helpers import assert_current
from tests.public import Default, names

FILE = Path(__file__).with_name("public_names.txt")
HEAD = "# Every public name of minigrad and how it is called. Written by `make public-names`.\n"


def line(public):
    """Write a name and how it is called, or what else it is."""
    if public.called is None:
        can_be_set = getattr(public.value, "fset", None)
        return f"{public.name}: {public.kind}{', can be set' if can_be_set else ''}"
    plain = [
        p.replace(
            annotation=p.empty, default=p.default if p.default is p.empty else Default(p.default)
        )
        for p in public.parameters
    ]
    return f"{public.name}{inspect.Signature(plain)}"


def page():
    return HEAD + "".join(f"{line(public)}\n" for public in names())


def test_the_public_names_and_signatures_are_those_of_the_list():
    assert_current(FILE, page())


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
