"""The checks can fail: each of them does when the guarantee it is for is taken out of the product."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.faults.postgres.fleet import Fleet
from tests.faults.postgres.scenarios import (
    crash_at,
    cut_the_commit,
    disagree,
    post_identical,
    stand_still,
    stop_the_database,
)
from tests.servers.postgres import PostgresServer

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet

Scenario = Callable[[Fleet, PostgresServer], Coroutine[Any, Any, object]]

# What is broken, the processes, which run must notice it, and by which words.
CANARIES: Final[dict[str, tuple[dict[str, Any], Scenario, str]]] = {
    "postgres_answers_before_the_commit": (
        {"apis": 1, "workers": 2},
        lambda fleet, _: crash_at(fleet, "append.before_commit", 3),
        r"I1 \d+ accepted events are lost",
    ),
    "calls_a_lost_answer_a_refusal": (
        {"wholes": 1},
        lambda fleet, server: cut_the_commit(fleet, server, rounds=1),
        r"assert \(503, 'store-unavailable'\) == \(503, 'outcome-unknown'\)",
    ),
    "postgres_has_no_unique_index": (
        {"wholes": 2},
        lambda fleet, _: post_identical(fleet, rounds=1),
        r"assert \[202, 202",
    ),
    "postgres_settles_without_a_fence": (
        {"apis": 1, "workers": 2, "delivery_timeout_s": 30},
        lambda fleet, _: stand_still(fleet),
        "the late settlements are stale, and counted",
    ),
    "never_frees": (
        {"apis": 1, "workers": 2, "delivery_timeout_s": 40},
        lambda fleet, _: stand_still(fleet),
        "all are sent again",
    ),
    "frees_after_its_own_silence": (
        {"apis": 1, "workers": 2, "lease_s": 120, "delivery_timeout_s": 90},
        lambda fleet, server: stop_the_database(fleet, server, away_s=15),
        r"\d+ deliveries were taken from a living worker",
    ),
    "clock_ahead_and_alone": (
        {"apis": 1, "workers": 2, "delivery_timeout_s": 30},
        lambda fleet, _: disagree(fleet, ahead="clock_ahead_and_alone", behind="clock_behind"),
        r"sent \d+ ms before its time|\d+ deliveries were taken from a living worker",
    ),
}


@pytest.mark.faults
@pytest.mark.timeout(240)
@pytest.mark.parametrize("canary", CANARIES)
def test_a_product_without_the_guarantee_is_found_out(
    make_fleet: MakeFleet, server: PostgresServer, canary: str
) -> None:
    options, scenario, words = CANARIES[canary]
    fleet = make_fleet(bug=canary, **options)
    if canary == "postgres_has_no_unique_index":
        server.execute("DROP INDEX events_dedup", database=fleet.database)
    with pytest.raises(AssertionError, match=words):
        asyncio.run(scenario(fleet, server))
