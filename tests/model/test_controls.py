"""Switches: what is in force, and what comes back when the time of a turn is over."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model.controls import (
    DRAIN,
    SWITCHES,
    Controls,
    DeliveryMode,
    DeliveryModes,
    IngestMode,
    Running,
    Switches,
    Value,
    drained,
    expires_at,
    for_older,
    in_force,
    settled,
    turn,
    turned,
    with_older,
)
from triggers_api.model.timestamp import Timestamp

START = Timestamp(1_800_000_000_000)
ORGANIZATION = Switches(organization_id="org_1")


def after(seconds: float) -> Timestamp:
    return START.after(seconds=seconds)


def turn_at(
    switches: Switches, at_s: float, *, for_s: float | None = None, **changes: Value
) -> Switches:
    until = None if for_s is None else after(at_s + for_s)
    return turn(switches, changes, at=after(at_s), by="key_1", reason="why", expires_at=until)


def shown(*scopes: Switches, forced: dict[str, tuple[Any, str]] | None = None) -> Controls:
    return in_force(*scopes, forced=forced or {})


def test_a_turn_for_good_stays() -> None:
    switches = turn_at(Switches(), 0, processing="paused", batch_size=7)
    assert settled(switches, after(1e9)) == switches
    assert expires_at(switches) is None
    controls = shown(switches)
    assert (controls.processing, controls.batch_size) == (Running.PAUSED, 7)
    assert (controls.reason, controls.updated_at, controls.updated_by) == ("why", START, "key_1")


def test_a_turn_for_a_while_goes_back_at_its_moment_and_not_before() -> None:
    switches = turn_at(Switches(), 0, for_s=60, processing="paused")
    assert shown(settled(switches, after(59.999))).processing is Running.PAUSED
    back = settled(switches, after(60))
    assert shown(back) == Controls(updated_at=START, updated_by="key_1")


def test_it_goes_back_to_what_was_turned_for_good_however_often_it_was_turned_for_a_while() -> None:
    switches = turn_at(Switches(), 0, ingest="sync")
    switches = turn_at(switches, 1, for_s=60, ingest="refuse")
    switches = turn_at(switches, 2, for_s=90, ingest="async")
    assert shown(switches).ingest is IngestMode.ASYNC
    back = settled(switches, after(92))
    assert shown(back).ingest is IngestMode.SYNC
    assert back.turns["ingest"].updated_at == START, "who turned it for good is told again"


def test_a_turn_for_good_ends_one_for_a_while() -> None:
    switches = turn_at(Switches(), 0, for_s=60, delivery="paused")
    switches = turn_at(switches, 1, delivery="skip")
    assert expires_at(switches) is None
    assert shown(settled(switches, after(3600))).delivery is DeliveryMode.SKIP
    assert turn_at(switches, 2, delivery="running").turns == {}


def test_a_switch_can_be_at_its_default_for_a_while() -> None:
    switches = turn_at(Switches(), 0, processing="paused")
    switches = turn_at(switches, 1, for_s=60, processing=None)
    assert shown(switches).processing is Running.RUNNING
    assert shown(settled(switches, after(61))).processing is Running.PAUSED


def test_a_turn_after_its_moment_does_not_bring_back_what_had_expired() -> None:
    switches = turn_at(Switches(), 0, for_s=60, processing="paused")
    switches = turn_at(switches, 120, for_s=60, processing="paused")
    assert settled(switches, after(180)).turns == {}


def test_what_stops_more_wins() -> None:
    service = turn_at(Switches(), 0, delivery="skip", ingest="refuse")
    organization = turn_at(ORGANIZATION, 0, delivery="paused", processing="paused", ingest="sync")
    controls = shown(service, organization)
    assert controls.delivery is DeliveryMode.PAUSED
    assert controls.processing is Running.PAUSED
    assert controls.ingest is IngestMode.REFUSE
    assert shown(service).processing is Running.RUNNING
    subscription = Switches(organization_id="org_1", subscription_id="sub_1")
    skipped = turn_at(subscription, 0, delivery="skip")
    assert shown(Switches(), ORGANIZATION, skipped).delivery is DeliveryMode.SKIP
    assert shown(service, organization, skipped).delivery is DeliveryMode.PAUSED


def test_an_organizations_own_mode_of_ingest_comes_before_the_services() -> None:
    service = turn_at(Switches(), 0, ingest="sync")
    assert shown(service, turn_at(ORGANIZATION, 0, ingest="async")).ingest is IngestMode.ASYNC
    assert shown(service, ORGANIZATION).ingest is IngestMode.SYNC
    refusing = turn_at(ORGANIZATION, 0, ingest="refuse")
    assert shown(service, refusing).ingest is IngestMode.REFUSE


def test_running_says_nothing_of_an_organization() -> None:
    assert turn_at(ORGANIZATION, 0, processing="running", delivery="running").turns == {}


def test_what_the_environment_forces_wins_everywhere() -> None:
    forced = {"delivery": (DeliveryMode.SKIP, "TRIGGERS_DELIVERY")}
    paused = turn_at(ORGANIZATION, 0, delivery="paused")
    controls = shown(Switches(), paused, forced=forced)
    assert controls.delivery is DeliveryMode.SKIP
    assert controls.forced_by == {"delivery": "TRIGGERS_DELIVERY"}
    (only,) = turned(Switches(), forced=forced)
    assert (only.switch, only.value, only.forced_by) == ("delivery", "skip", "TRIGGERS_DELIVERY")


def test_what_is_not_at_its_default_is_told_with_who_when_why_and_until_when() -> None:
    switches = turn_at(Switches(), 0, ingest="sync")
    switches = turn_at(switches, 1, for_s=60, ingest="refuse")
    (told,) = turned(switches)
    assert (told.switch, told.value, told.before) == ("ingest", "refuse", "sync")
    assert (told.reason, told.updated_by) == ("why", "key_1")
    assert (told.updated_at, told.expires_at) == (after(1), after(61))
    assert turned(Switches()) == []


def test_draining_is_for_older_versions_as_refusing() -> None:
    switches = drained(Switches(), at=START, by="key_1", reason="upgrade", expires_at=after(60))
    assert shown(switches).draining
    assert shown(switches).ingest is IngestMode.ASYNC
    assert for_older(switches).ingest is IngestMode.REFUSE
    assert with_older(switches, for_older(switches)) == switches
    assert DRAIN not in settled(switches, after(60)).turns


def test_what_an_older_version_turned_beside_these_counts() -> None:
    switches = turn_at(Switches(), 0, for_s=600, delivery="paused", batch_size=5)
    row = msgspec.structs.replace(
        for_older(switches), delivery=DeliveryMode.SKIP, updated_at=after(9), updated_by="key_2"
    )
    seen = with_older(switches, row)
    assert seen.turns["delivery"].value == "skip"
    assert seen.turns["delivery"].updated_by == "key_2"
    assert seen.turns["delivery"].expires_at is None
    assert seen.turns["batch_size"] == switches.turns["batch_size"]
    default = msgspec.structs.replace(row, delivery=DeliveryMode.RUNNING)
    assert set(with_older(switches, default).turns) == {"batch_size"}
    assert with_older(Switches(), None) == Switches()


@pytest.mark.parametrize("everywhere", DeliveryMode)
def test_modes_of_deliveries_are_those_of_the_scopes(everywhere: DeliveryMode) -> None:
    modes = DeliveryModes(
        everywhere=everywhere,
        organizations={"org_1": DeliveryMode.PAUSED},
        subscriptions={"sub_1": DeliveryMode.SKIP},
        limited=True,
    )
    assert modes.of("org_1", "sub_1") is DeliveryMode.PAUSED
    assert modes.of("org_2", "sub_2") is everywhere
    skipped = everywhere if everywhere is DeliveryMode.PAUSED else DeliveryMode.SKIP
    assert modes.of("org_2", "sub_1") is skipped


VALUES: dict[str, list[Value]] = {
    "ingest": ["async", "sync", "refuse", None],
    "processing": ["running", "paused", None],
    "delivery": ["running", "paused", "skip", None],
    "concurrency": [1, 20, None],
    "batch_size": [1, 100, None],
    "min_poll_ms": [1, 1000, None],
}
TURNS = st.lists(
    st.tuples(
        st.sampled_from(SWITCHES).flatmap(
            lambda name: st.tuples(st.just(name), st.sampled_from(VALUES[name]))
        ),
        st.integers(0, 50),
        st.none() | st.integers(1, 50),
    ),
    max_size=12,
)


@given(TURNS)
def test_turned_in_any_order_each_switch_is_at_its_last_turn_that_holds(
    turns: list[tuple[tuple[str, Value], int, int | None]],
) -> None:
    turns.sort(key=lambda each: each[1])
    switches, defaults = Switches(), Controls()
    for (name, value), at_s, for_s in turns:
        switches = turn_at(switches, at_s, for_s=for_s, **{name: value})
    end = 60
    now = shown(settled(switches, after(end)))
    for name in SWITCHES:
        expected: Value = None
        mine = [each for each in turns if each[0][0] == name]
        for (_, value), _, for_s in mine:
            if for_s is None:
                expected = value
        if mine and (last := mine[-1])[2] is not None and last[1] + last[2] > end:
            expected = last[0][1]
        default = getattr(defaults, name)
        assert getattr(now, name) == (default if expected is None else expected)
    assert with_older(switches, for_older(switches)) == switches
