"""The page of recipes does what it says."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "recipes.md"
SECTIONS = PAGE.read_text(encoding="utf-8").split("\n## ")


def _run(section, given):
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), given)


@pytest.mark.parametrize("section", SECTIONS[1:], ids=lambda text: text.partition("\n")[0])
def test_a_recipe(section):
    given = {}
    _run(SECTIONS[0], given)
    assert "```python" in section
    _run(section, given)
