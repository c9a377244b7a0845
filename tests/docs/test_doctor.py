"""What ``triggers doctor`` looks at stands on the page for whoever is on call, line by line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.docs.pages import ROOT

import triggers_api.cli

FOLDER: Final = Path(triggers_api.cli.__file__).parent
PAGE: Final = ROOT / "docs" / "operate" / "support.md"


def lines(source: Path) -> Iterator[str]:
    """What the findings that a module makes are about."""
    tree = ast.parse(source.read_text())
    named = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(node.value, ast.Constant)
        for target in ([node.target] if isinstance(node, ast.AnnAssign) else node.targets)
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
            about = node.args[1]
            if isinstance(about, ast.Constant):
                yield str(about.value)
            elif isinstance(about, ast.Name) and about.id in named:
                yield str(named[about.id])


def test_every_line_that_doctor_prints_is_explained() -> None:
    found = {
        line
        for source in FOLDER.glob("*finding*.py")
        for line in lines(source)
    }  # fmt: skip
    # Named in a loop over two settings of PostgreSQL.
    found |= {"page writes"}
    found -= {""}  # one that is given its name by who shows it
    _, _, rest = PAGE.read_text().partition("## What doctor asks\n")
    table, _, _ = rest.partition("\n## ")
    told = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall("`([a-z ]+)`", row.split(" | ")[0])
    }
    assert told == found


def test_every_step_of_the_checklist_has_a_line_of_doctor() -> None:
    text = PAGE.read_text()
    checklist, _, rest = text.partition("## What doctor asks\n")
    steps = set(
        re.findall(r"^(\d+)\. ", checklist.partition("## The checklist\n")[2], re.MULTILINE)
    )
    table, _, _ = rest.partition("\n## ")
    told = {
        step
        for row in table.splitlines()
        if row.startswith("| `")
        for step in re.findall(r"\d+", row.split(" | ")[2])
    }
    assert steps == told
