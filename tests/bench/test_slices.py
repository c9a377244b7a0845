"""Slices: what a stretch of load came to."""

from typing import Any

from triggers_api.bench.machine import CoreUse
from triggers_api.bench.slices import Slice, noise


def made(**changes: Any) -> Slice:  # noqa: ANN401 - fields
    given: dict[str, Any] = {
        "what": "ingest",
        "loader": "raw",
        "seconds": 2.0,
        "answers": 110,
        "rate": 50.0,
        "statuses": {"200": 20, "202": 80, "429": 10},
        "lost": 3,
        "latency": None,
        "server": CoreUse(own=0.5, others=0.02, stolen=0.0),
        "load": CoreUse(own=0.2, others=0.0, stolen=0.0),
        "void": "",
    }
    return Slice(**(given | changes))


def test_what_was_refused_or_lost_has_failed() -> None:
    assert made().failed == 13
    assert made(statuses={"<400": 100, "≥400": 4}, lost=0).failed == 4
    assert made(statuses={"201": 5}, lost=0).failed == 0


def test_the_rate_of_a_whole_core_is_reckoned_from_the_share_that_was_used() -> None:
    assert made().rate_of_cpu == 100.0
    assert made(server=None).rate_of_cpu is None
    assert made(server=CoreUse(own=0.0)).rate_of_cpu is None


def test_a_quiet_machine_is_not_worth_a_word() -> None:
    assert noise([]) == ""
    assert noise([made(), made(server=None, load=CoreUse(own=0.1))]) == ""


def test_noise_names_the_worst_share_of_each_core() -> None:
    busy = made(server=CoreUse(own=0.4, others=0.5), load=CoreUse(own=0.1, others=0.31))
    assert noise([made(), busy]) == (
        "other programs used up to 50% of the server's core and 31% of the loader's core"
    )
