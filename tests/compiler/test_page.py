"""docs/compile.md shows what is printed; `python -m tests.compiler.test_page` renews it."""

import contextlib
import doctest
import io
from pathlib import Path

from tests.helpers import assert_current

PAGE = Path(__file__).parents[2] / "docs" / "compile.md"


def renewed(text):
    """The page with what its examples print now; an error that is shown must be raised."""
    names = {}
    out, end = [], 0
    for example in doctest.DocTestParser().get_examples(text):
        shown, code = io.StringIO(), compile(example.source, "compile.md", "single")
        with contextlib.redirect_stdout(shown):
            try:
                exec(code, names)
            except TypeError:
                assert example.exc_msg
        if example.want and not example.exc_msg:
            place = text.index(example.want, end)
            printed = shown.getvalue().replace("\n\n", "\n<BLANKLINE>\n")
            out += [text[end:place], printed]
            end = place + len(example.want)
    return "".join([*out, text[end:]])


def test_the_page_is_current():
    assert_current(PAGE, renewed(PAGE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
