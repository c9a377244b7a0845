"""docs/reference/faults.md: what an operator is to search for is what the product says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest
from tests.docs.pages import REFERENCE
from tests.docs.test_seed_tests import exists, rows

from triggers_api.model.outcome import ERRORS

PAGE: Final = REFERENCE / "faults.md"

_SPAN: Final = re.compile(r"`([^`]+)`")
_CODE: Final = re.compile(r"[a-z]+-[a-z-]+")
_TEST: Final = re.compile(r"tests/[\w/]+\.py(?:::\w+)?")


def first_column(page: str, table: str) -> frozenset[str]:
    """The names in a table that is made from the code."""
    text = (REFERENCE / page).read_text()
    body = text.partition(f"<!-- table: {table} -->")[2].partition("<!-- end -->")[0]
    found = (_SPAN.search(row.asked) for row in rows(body))
    return frozenset(span[1] for span in found if span)


EVENTS: Final = first_column("telemetry.md", "log events")
METRICS: Final = first_column("telemetry.md", "metrics")
CODES: Final = first_column("problems.md", "problems") | ERRORS.keys()


def faults(text: str) -> Iterator[str]:
    """What is wrong with the tables of four columns, in words."""
    for row in rows(text):
        where = f"line {row.line}"
        cells = row.shown.split(" | ")
        if len(cells) != 3:
            continue
        happens, seen, test = cells
        for span in _SPAN.findall(seen):
            if span.startswith("triggers_"):
                known = span in METRICS
            elif " " in span:
                known = span in EVENTS
            else:
                known = span in CODES or not _CODE.fullmatch(span) or span.startswith("-")
            if not known:
                yield f"{where}: the product never says {span}"
        for span in _SPAN.findall(happens):
            if _CODE.fullmatch(span) and span not in CODES and span != "webhook-id":
                yield f"{where}: there is no code {span}"
        named = _TEST.findall(test)
        if not named and test != "the same":
            yield f"{where}: nothing injects it"
        yield from (f"{where}: {each} does not exist" for each in named if not exists(each))


def test_what_the_page_says_is_what_the_product_says() -> None:
    assert list(faults(PAGE.read_text())) == []
    assert len(list(rows(PAGE.read_text()))) > 60


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("| a | b | `all is lost` | the same |", "the product never says all is lost"),
        ("| a | b | `triggers_luck` | the same |", "the product never says triggers_luck"),
        ("| a | b | `disk-full` | the same |", "the product never says disk-full"),
        ("| a | `disk-full` | | the same |", "there is no code disk-full"),
        ("| a | b | | |", "nothing injects it"),
        ("| a | b | | `tests/faults/test_none.py` |", "tests/faults/test_none.py does not exist"),
    ],
)
def test_a_row_that_says_something_else_is_found_out(row: str, fault: str) -> None:
    head = "| fault | what happens | what the operator sees | test |\n| --- | --- | --- | --- |\n"
    assert list(faults(f"{head}{row}\n")) == [f"line 3: {fault}"]
