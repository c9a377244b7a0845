"""What the reference pages say is so in the code, and what is in the code they say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.conftest import Enter, Run
from tests.docs.pages import (
    REFERENCE,
    code_blocks,
    code_spans,
    every_page,
    name_of,
    reference,
)

from triggers_api import pytest_plugin
from triggers_api.settings import table, variable
from triggers_api.testing import FrozenClock, Receiver, Service

PAGES: Final = sorted(reference().PAGES_AND_TABLES)

# The founding documents name what others built; that page quotes them.
QUOTES_OTHERS: Final = REFERENCE.parent / "seed-tests.md"


@cache
def made(page: str, name: str) -> Any:  # noqa: ANN401 - a Table of scripts/reference.py
    return reference().PAGES_AND_TABLES[page][name]()


def tables(page: str) -> dict[str, Any]:
    """The tables of a page as the code has them; free to be changed."""
    names = reference().PAGES_AND_TABLES[page]
    return {name: made(page, name)._replace(rows=[*made(page, name).rows]) for name in names}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_the_code_says(page: str) -> None:
    found = list(reference().faults(page, (REFERENCE / page).read_text(), tables(page)))
    assert not found, "run: python scripts/reference.py --write"


def test_every_page_of_the_reference_that_can_be_made_is_made() -> None:
    by_hand = {"README.md", "faults.md", "benchmark.md"}
    assert {page.name for page in REFERENCE.glob("*.md")} - by_hand == set(PAGES)


ROWS: Final = {
    "settings.md": "| `rate_limit` |",
    "telemetry.md": "| `triggers_queue_depth` | gauge |",
    "problems.md": '| <a id="rate-limited"></a>`rate-limited` |',
    "http.md": "| `POST /api/events` |",
    "cli.md": "| `--demo` |",
    "client.md": "| `client.send_many(events)` |",
}


def lines_with_one(page: str, change: Callable[[str], str]) -> str:
    """A page with the row above changed."""
    lines = (REFERENCE / page).read_text().splitlines(keepends=True)
    (at,) = (number for number, line in enumerate(lines) if line.startswith(ROWS[page]))
    lines[at] = change(lines[at])
    return "".join(lines)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: "", id="a row is missing"),
        pytest.param(lambda row: row + row.replace("`", "`no_", 1), id="a row is made up"),
        pytest.param(lambda row: row.replace(" | ", " | not ", 1), id="a cell is wrong"),
    ],
)
def test_a_page_that_says_otherwise_is_found_out(page: str, change: Callable[[str], str]) -> None:
    assert list(reference().faults(page, lines_with_one(page, change), tables(page)))


def test_a_table_that_nobody_makes_and_one_that_nobody_shows_are_found_out() -> None:
    present = tables("settings.md")
    text = (REFERENCE / "settings.md").read_text()
    more = present | {"other": present["settings"]}
    assert list(reference().faults("settings.md", text, more))
    assert list(reference().faults("settings.md", text, {}))


def test_what_people_wrote_is_kept_when_a_table_is_made_anew() -> None:
    text = (REFERENCE / "telemetry.md").read_text()
    row = re.compile(r"(?<=\| `batch summary` \| )info(?= \|)")
    assert reference().updated(row.sub("error", text), tables("telemetry.md")) == text


def test_a_row_that_lacks_its_words_is_found_out() -> None:
    page = "telemetry.md"
    present = tables(page)
    present["log events"].rows.append(("`something new`", "info", ""))
    remade = reference().updated((REFERENCE / page).read_text(), present)
    assert list(reference().faults(page, remade, present)) == [
        "telemetry.md: log events: `something new`: the last column is to be written by hand"
    ]


def test_a_line_of_the_log_is_found_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        "log.info('plain', one=1)\n"
        "log.exception('with a traceback', two=2)\n"
        "line = log.debug if quiet else log.info\n"
        "line('through a name', three=3)\n"
        "other.info('of somebody else')\n"
    )
    found = {call.event: (call.levels, call.fields) for call in reference().log_calls(tmp_path)}
    assert found == {
        "plain": ({"info"}, {"one"}),
        "with a traceback": ({"error"}, {"two", "exception"}),
        "through a name": ({"debug", "info"}, {"three"}),
    }


@pytest.mark.parametrize(
    "call", ["log.info(f'of {number}')", "log.info('fields', **fields)", "log.info(text)"]
)
def test_a_line_of_the_log_that_cannot_be_listed_is_refused(tmp_path: Path, call: str) -> None:
    (tmp_path / "module.py").write_text(call)
    with pytest.raises(TypeError, match=r"literal|named"):
        list(reference().log_calls(tmp_path))


# ── names in the text of all pages ────────────────────────────────────────────────────────────────


def known_names() -> dict[str, set[str]]:
    """What a page may name, by kind."""
    variables = {variable(row) for row in table()}
    metrics = {row[0].strip("`") for row in made("telemetry.md", "metrics").rows}
    parts = {f"{name}{end}" for name in metrics for end in ("_bucket", "_sum", "_count")}
    routes = {row[0].strip("`") for row in made("http.md", "routes").rows}
    return {
        "variable": variables
        | {"TRIGGERS_CONFIG", "TRIGGERS_URL", "TRIGGERS_"}
        | {"TRIGGERS_TEST_FAILPOINTS", "TRIGGERS_TEST_POSTGRES_URL", "TRIGGERS_TEST_SEED"},
        "metric": metrics | parts | {"triggers_api"} | FIXTURES,
        "route": routes | {f"GET {path}" for path in OTHER_PATHS},
    }


FIXTURES: Final = {name for name in vars(pytest_plugin) if name.startswith("triggers_")}

OTHER_PATHS: Final = ("/", "/docs", "/docs/problems", "/docs/style.css", "/openapi.json")

PATTERNS: Final = {
    "variable": re.compile(r"\bTRIGGERS_[A-Z0-9_]*"),
    "metric": re.compile(r"\btriggers_[a-z0-9_]+"),
    "route": re.compile(r"\b(?:GET|POST|PUT|PATCH|DELETE) /[A-Za-z/._{}-]*"),
}


def names_of(page: Path, kind: str) -> set[str]:
    """The names of a kind that a page uses, in its text and in its code."""
    texts = [*code_spans(page), *(block.text for block in code_blocks(page))]
    return {name for text in texts for name in PATTERNS[kind].findall(text)}


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    return known_names()


@pytest.mark.parametrize("kind", PATTERNS)
@pytest.mark.parametrize(
    "page", [page for page in every_page() if page != QUOTES_OTHERS], ids=name_of
)
def test_a_page_names_only_what_there_is(page: Path, kind: str, known: dict[str, set[str]]) -> None:
    templates = {re.sub(r"\{[a-z_]+\}", "{}", name) for name in known[kind]}
    found = {re.sub(r"\{[a-z_]+\}", "{}", name) for name in names_of(page, kind)}
    assert found <= templates


@pytest.mark.parametrize("kind", PATTERNS)
def test_the_reference_uses_names_of_every_kind(kind: str) -> None:
    assert any(names_of(REFERENCE / page, kind) for page in PAGES)


# ── what only a running service shows ─────────────────────────────────────────────────────────────


@pytest.fixture
def service(enter: Enter, tmp_path: Path, clock: FrozenClock) -> Service:
    return enter(Service(tmp_path, clock=clock, rate_limit=60, rate_burst=5, retry_schedule=()))


def test_pages_beside_the_routes_are_there_without_a_key(service: Service, run: Run) -> None:
    text = (REFERENCE / "http.md").read_text()
    for path in OTHER_PATHS:
        assert f"| `GET {path}` |" in text
        assert run(service.call("GET", path, key=None)).status == 200


def test_the_service_shows_every_code_under_the_address_that_a_problem_names(
    service: Service, run: Run
) -> None:
    page = run(service.call("GET", "/docs/problems", key=None)).body.decode()
    shown = re.findall(r'<tr id="([a-z-]+)">', page)
    listed = re.findall(r'<a id="([a-z-]+)"></a>', (REFERENCE / "problems.md").read_text())
    assert shown == listed


def test_the_problem_on_the_page_is_what_the_service_answers(service: Service, run: Run) -> None:
    (block,) = (b for b in code_blocks(REFERENCE / "problems.md") if b.language == "json")
    shown = json.loads(block.text)
    answer = run(service.call("POST", "/api/events", {"payload": 1}))
    assert answer.json | {"request_id": shown["request_id"]} == shown


def listed_labels() -> dict[tuple[str, str], set[str]]:
    """The values of each metric's label that the page lists."""
    _, _, rest = (REFERENCE / "telemetry.md").read_text().partition("### Labels")
    rest, _, _ = rest.partition("\n### ")
    rows = [re.split(r"`? \| `?", line.strip("| `")) for line in rest.splitlines()]
    return {
        (row[0], row[1]): set(re.findall(r"`([a-z0-9_. -]+)`", f"`{row[2]}`"))
        for row in rows
        if row[0].startswith("triggers_") and len(row) == 3
    }


def test_every_label_of_a_metric_says_which_values_it_has() -> None:
    rows = made("telemetry.md", "metrics").rows
    labels = {
        (row[0].strip("`"), label) for row in rows for label in re.findall("`([a-z_]+)`", row[2])
    }
    assert set(listed_labels()) == labels


def listed_as(series: str) -> str:
    """The name in the table of a series."""
    name = re.sub("_(bucket|sum|count|created)$", "", series)
    return name if name in LISTED_METRICS else f"{name}_total"


LISTED_METRICS: Final = {name for name, _ in listed_labels()}


def test_every_value_of_a_label_is_listed(
    service: Service, receiver: Receiver, clock: FrozenClock, run: Run
) -> None:
    receiver.replies(204, 500, 410)
    run(service.subscribe(receiver.url, retry_schedule=[1]))
    for _ in range(3):
        run(service.send("a", 1, dedup_id="once"))
    run(service.send("b", 1))
    run(service.call("POST", "/api/events", b"{"))
    run(service.send("over the limit", 1))
    for _ in range(3):
        run(service.drain())
        clock.advance(seconds=60)
    run(service.app.reaper.run_once())
    exposed = run(service.call("GET", "/metrics", key=None)).body.decode()
    listed = listed_labels()
    seen = 0
    for family in text_string_to_metric_families(exposed):
        for sample in family.samples:
            for label, value in sample.labels.items():
                # A version is one; which verbs there are is the store's to say.
                if label not in {"le", "version", "verb"}:
                    assert value in listed[listed_as(sample.name), label], sample
                    seen += 1
    assert seen > 20
    assert {part.name for part in service.app._parts()} <= listed[
        "triggers_loop_crashes_total", "loop"
    ]


def test_the_commands_take_the_settings_that_the_page_says_they_take() -> None:
    every = {row.name for row in table()}
    assert reference().setting_flags("serve") == every
    assert reference().setting_flags("doctor") == every
    assert reference().setting_flags("worker") == every - {"role"}
    assert reference().setting_flags("migrate") == {"database_url", "database_direct_url"}
    assert reference().setting_flags("trigger") == reference().setting_flags("bench") == set()
