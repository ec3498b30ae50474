"""docs/reference has every public name. (That what it names exists, `make docs` sees.)"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
DIRECTIVES = {
    name
    for page in (DOCS / "reference").glob("*.md")
    for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
}


def referenced(module: str, name: str) -> bool:
    """By its name, in whichever module, or with the whole module that it is defined in."""
    if any(directive.rpartition(".")[2] == name for directive in DIRECTIVES):
        return True
    value = getattr(importlib.import_module(module), name)
    return getattr(value, "__module__", "") in DIRECTIVES


@pytest.mark.parametrize(
    "module", ["auditwire", "auditwire.reading", "auditwire.verification", "auditwire.testing"]
)
def test_every_public_name_has_its_place_in_the_reference(module: str) -> None:
    public = [name for name in importlib.import_module(module).__all__ if not name.startswith("__")]
    assert [name for name in public if not referenced(module, name)] == []
