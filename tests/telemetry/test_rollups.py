"""What a process counts until it is written down."""

from __future__ import annotations

from typing import Final

from triggers_api.model.delivery import DeliveryStatus
from triggers_api.model.rollup import COARSE_S, EVERYBODY, MINUTE_S, Rollup
from triggers_api.model.timestamp import Timestamp
from triggers_api.telemetry.rollups import MOST, Rollups

NOON: Final = Timestamp.parse("2026-11-22T12:00:00.000Z")
ACME: Final = "org_acme"
OTHER: Final = "org_other"


def of(rollups: Rollups, organization_id: str, step_s: int = MINUTE_S) -> dict[Timestamp, Rollup]:
    return {each.at: each for each in rollups.of(organization_id, step_s)}


def test_what_is_counted_for_one_is_counted_for_everybody() -> None:
    rollups = Rollups()
    rollups.accepted(ACME, 0.001)
    rollups.accepted(OTHER, 0.001, events=3, routed=3)
    rollups.limited(None)
    rollups.fold(NOON)
    assert of(rollups, ACME)[NOON].tally.accepted == 1
    assert of(rollups, OTHER)[NOON].tally.routed == 3
    everybody = of(rollups, EVERYBODY)[NOON].tally
    assert (everybody.accepted, everybody.limited, sum(everybody.ingest.values())) == (4, 1, 2)


def test_what_is_counted_is_put_down_to_the_minute_of_the_look() -> None:
    rollups = Rollups()
    rollups.routed(ACME)
    rollups.fold(NOON.after(seconds=59))
    rollups.routed(ACME)
    rollups.fold(NOON.after(seconds=61))
    minutes = of(rollups, ACME)
    assert [minutes[NOON].tally.routed, minutes[NOON.after(seconds=60)].tally.routed] == [1, 1]
    assert of(rollups, ACME, COARSE_S)[NOON].tally.routed == 2


def test_a_delivery_counts_for_its_organization_and_its_subscription() -> None:
    rollups = Rollups()
    rollups.settled(ACME, "sub", DeliveryStatus.RETRYING, 20)
    rollups.settled(ACME, "sub", DeliveryStatus.SUCCEEDED, 30)
    rollups.settled(ACME, "sub", DeliveryStatus.DEAD, 30)
    rollups.settled(ACME, "sub", DeliveryStatus.SKIPPED, None)
    rollups.fold(NOON)
    (own,) = rollups.of_subscriptions(ACME)
    assert own.subscription_id == "sub"
    for tally in (own.tally, of(rollups, ACME)[NOON].tally):
        assert (tally.attempts_succeeded, tally.attempts_failed) == (1, 2)
        assert (tally.succeeded, tally.dead, tally.skipped) == (1, 1, 1)
        assert sum(tally.attempts.values()) == 3
    assert rollups.of_subscriptions(OTHER) == []


def test_what_was_counted_while_it_was_written_down_is_written_down_the_next_time() -> None:
    rollups = Rollups()
    rollups.routed(ACME)
    rollups.fold(NOON)
    writing = rollups.unsaved()
    rollups.routed(ACME)
    rollups.fold(NOON)
    rollups.saved(writing)
    again = {(each.organization_id, each.step_s): each.tally.routed for each in rollups.unsaved()}
    assert again == {
        (EVERYBODY, MINUTE_S): 2, (EVERYBODY, COARSE_S): 2, (ACME, MINUTE_S): 2, (ACME, COARSE_S): 2,
    }  # fmt: skip
    rollups.saved(rollups.unsaved())
    assert rollups.unsaved() == []


def test_what_is_over_and_on_file_is_forgotten() -> None:
    rollups = Rollups()
    rollups.routed(ACME)
    rollups.fold(NOON)
    rollups.saved(rollups.unsaved())
    rollups.fold(NOON.after(seconds=60))
    assert of(rollups, ACME) == {}
    assert of(rollups, ACME, COARSE_S)[NOON].tally.routed == 1


def test_more_organizations_than_can_be_told_apart_are_counted_together() -> None:
    rollups = Rollups()
    for number in range(MOST + 5):
        rollups.routed(f"org_{number}")
    rollups.fold(NOON)
    assert of(rollups, EVERYBODY)[NOON].tally.routed == MOST + 5
    assert of(rollups, f"org_{MOST + 1}") == {}


def test_what_is_in_memory_takes_the_place_of_what_this_process_wrote_and_of_nobody_elses() -> None:
    rollups, neighbour = Rollups(), Rollups()
    for each in (rollups, neighbour):
        each.routed(ACME)
        each.fold(NOON)
    stored = [
        each for each in (*rollups.unsaved(), *neighbour.unsaved()) if each.step_s == MINUTE_S
    ]
    rollups.routed(ACME)
    rollups.fold(NOON)
    seen = rollups.with_own(
        [each for each in stored if each.organization_id == ACME], rollups.of(ACME, MINUTE_S)
    )
    assert sum(each.tally.routed for each in seen) == 3
