"""The pages under docs/: what holds code is executed, links lead somewhere, and tables name what is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from locklib import errors
from locklib.core import model

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_runs(page: Path) -> None:
    space: dict[str, object] = {}
    for block in FENCE.findall(page.read_text()):
        exec(compile(block, page.name, "exec"), space)


def test_the_rooms_of_the_house_are_the_files_of_the_house() -> None:
    """docs/design.md lists every module of the core and the shells, and none that is gone."""
    listed = set(re.findall(r"\b([a-z_]+\.py)\b", (ROOT / "docs" / "design.md").read_text().split("## The step")[0]))
    source = ROOT / "src" / "locklib"
    there = {path.name for path in [*source.glob("*.py"), *(source / "core").glob("*.py")]} - {"__init__.py"}
    assert there - {"__main__.py"} <= listed
    assert all((ROOT / "scripts" / name).exists() or list(source.rglob(name)) for name in listed)


def test_every_threat_with_a_row_has_a_test_of_its_name() -> None:
    rows = re.findall(r"^\| T(\d+) \|", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE)
    names = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_t*.py"))
    names += "\n".join(path.name for path in (ROOT / "tests").glob("test_t*.py"))
    assert len(rows) >= 28
    for row in rows:
        assert re.search(rf"test_t0?{row}_", names), f"T{row} has no test of its name"


def test_the_glossary_names_what_the_code_has() -> None:
    """Words in the second column that look like classes of the model are."""
    words = re.findall(r"`([A-Z][A-Za-z]+)(?:\.([a-zA-Z_]+))?", (ROOT / "docs" / "glossary.md").read_text())
    classes = {
        node.name for node in ast.walk(ast.parse(Path(model.__file__).read_text())) if type(node) is ast.ClassDef
    }
    for name, attribute in words:
        if name in classes and attribute:
            assert hasattr(getattr(model, name), attribute) or attribute in getattr(model, name).__annotations__


def test_every_error_says_the_status_that_it_becomes() -> None:
    for name in errors.__all__:
        assert 400 <= getattr(errors, name).status < 600
