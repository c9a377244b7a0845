"""Every row of docs/seed-tests.md says what shows it, and whatever the pages call a test is one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from tests.docs.pages import ROOT, code_blocks, code_spans, every_page, name_of

PAGE: Final = ROOT / "docs" / "seed-tests.md"

_NAMED: Final = re.compile(r"tests/[\w/]+\.py(?:::\w+)?")
_MAKE: Final = re.compile(r"`make ([a-z-]+)")


class Row(NamedTuple):
    """What is asked for, what shows it, and the line of the page."""

    asked: str
    shown: str
    line: int


def rows(text: str) -> Iterator[Row]:
    """The rows of all tables, without their heads."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        is_head = (
            number < len(lines) and set(lines[number]) <= set("|- ") and "---" in lines[number]
        )
        if line.startswith("|") and "---" not in line and not is_head:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
            yield Row(cells[0], " | ".join(cells[1:]), number)


@cache
def functions(path: str) -> frozenset[str]:
    """The functions of a file; none if there is no such file."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    tree = ast.parse(file.read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def exists(named: str) -> bool:
    """Whether a file, or a function in it, is there."""
    path, _, function = named.partition("::")
    return function in functions(path) if function else (ROOT / path).is_file()


@cache
def targets() -> frozenset[str]:
    """What can be made."""
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def faults(text: str) -> Iterator[str]:
    """What is wrong with the rows, in words."""
    for row in rows(text):
        where = f"line {row.line}"
        named, made = (found.findall(row.shown) for found in (_NAMED, _MAKE))
        if not row.asked:
            yield f"{where}: nothing is asked for"
        if not (any("::" in each for each in named) or made):
            yield f"{where}: nothing shows it"
        yield from (f"{where}: {each} does not exist" for each in named if not exists(each))
        yield from (
            f"{where}: make {each} does not exist" for each in made if each not in targets()
        )


def test_every_row_names_what_shows_it_and_that_is_there() -> None:
    assert list(faults(PAGE.read_text())) == []


def test_each_founding_document_has_its_part() -> None:
    parts = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    assert [part[0] for part in parts] == ["1", "2", "3", "4", "5"]
    for part in parts:
        assert "Named tests" in part
        assert len(list(rows(part))) >= 20


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("| a | `tests/docs/test_seed_tests.py::test_nothing` |", "does not exist"),
        ("| a | `tests/docs/test_nothing.py::test_nothing` |", "does not exist"),
        ("| a | `tests/docs/test_seed_tests.py` |", "nothing shows it"),
        ("| a | later |", "nothing shows it"),
        ("| a | |", "nothing shows it"),
        ("| | `make test` |", "nothing is asked for"),
        ("| a | `make nonsense` |", "does not exist"),
    ],
)
def test_a_row_that_shows_nothing_is_found_out(row: str, fault: str) -> None:
    page = f"| asked for | shown by |\n| --- | --- |\n| b | `make test` |\n{row}\n"
    (found,) = faults(page)
    assert found.startswith("line 4: ")
    assert found.endswith(fault)


# The first column of that page names what others have.
@pytest.mark.parametrize("page", [page for page in every_page() if page != PAGE], ids=name_of)
def test_what_a_page_calls_a_test_is_one(page: Path) -> None:
    texts = [*code_spans(page), *(block.text for block in code_blocks(page))]
    named = [each for text in texts for each in _NAMED.findall(text)]
    assert [each for each in named if not exists(each)] == []
