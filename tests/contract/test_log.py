"""The log: a reader who goes from position to position is told of each event once and skips none."""

from __future__ import annotations

import time
from typing import Final

import pytest
from tests.contract.conftest import PATIENCE_S, World

from triggers_api.errors import MalformedValue
from triggers_api.store.base import EventFilter, LogPage, Page

_MOST_TOLD_AT_FIRST: Final = 10


def told(world: World, organization: str, after: str | None, limit: int) -> LogPage:
    """A page, once all that is stored can be told: any transaction of the server holds that up."""
    stored = len(world.run(world.store.events(organization, EventFilter(), Page(limit=1000))))
    give_up_at = time.monotonic() + PATIENCE_S
    while len(world.run(world.store.log(organization, None, 1000)).events) < stored:
        assert time.monotonic() < give_up_at, "not everything that is stored is told"
        time.sleep(0.005)
    return world.run(world.store.log(organization, after, limit))


def read(world: World, organization: str, after: str | None, limit: int = 100) -> list[str]:
    page = told(world, organization, after, limit)
    return [event.id for event in page.events]


def test_a_log_without_events_has_nothing_and_no_position(world: World, organization: str) -> None:
    page = world.run(world.store.log(organization, None, 10))
    assert page.events == []
    assert page.position is None


def test_events_come_in_the_order_in_which_they_were_stored(
    world: World, organization: str
) -> None:
    stored = [world.queued(organization)[0] for _ in range(5)]
    assert read(world, organization, None) == stored


def test_a_reader_goes_on_where_the_last_page_ended(world: World, organization: str) -> None:
    stored = [world.queued(organization)[0] for _ in range(7)]
    heard, position = [], None
    while True:
        page = told(world, organization, position, 3)
        if not page.events:
            break
        heard += [event.id for event in page.events]
        position = page.position
    assert heard == stored
    assert page.position == position
    (later,) = world.queued(organization)
    assert read(world, organization, position) == [later]


def test_events_of_one_transaction_are_told_once_each_across_pages(
    world: World, organization: str
) -> None:
    stored = world.queued(organization, 6)
    first = told(world, organization, None, 4)
    rest = read(world, organization, first.position)
    assert [*(event.id for event in first.events), *rest] == stored


def test_deleted_events_and_those_of_others_are_left_out(world: World, organization: str) -> None:
    other = world.organization("other")
    gone, kept = world.queued(organization, 2)
    world.queued(other)
    world.run(world.store.delete_event(organization, gone))
    assert read(world, organization, None) == [kept]


def test_an_event_is_told_with_everything_that_a_list_shows(
    world: World, organization: str
) -> None:
    world.queued(organization, source="shop", key="42", metadata=b'{"a":"b"}', dedup_id="d")
    (listed,) = world.run(world.store.events(organization, EventFilter(), Page()))
    (logged,) = told(world, organization, None, 10).events
    assert logged == listed


@pytest.mark.parametrize(
    "position", ["", "x", "evt_", "1-", "-", "99999999999999999999-00", "\x00"]
)
def test_what_is_no_position_is_refused(world: World, organization: str, position: str) -> None:
    with pytest.raises(MalformedValue):
        world.run(world.store.log(organization, position, 10))


def test_the_end_of_a_log_is_behind_all_that_can_be_told(world: World, organization: str) -> None:
    assert world.run(world.store.log_end(organization)) is None
    world.queued(organization, 3)
    page = told(world, organization, None, 10)
    end = world.run(world.store.log_end(organization))
    assert end == page.position
    (later,) = world.queued(organization)
    assert read(world, organization, end) == [later]


def test_a_reader_goes_on_behind_any_event_also_one_that_was_deleted(
    world: World, organization: str
) -> None:
    stored = [world.queued(organization)[0] for _ in range(4)]
    assert world.run(world.store.delete_event(organization, stored[1]))
    position = world.run(world.store.log_position(organization, stored[1]))
    assert read(world, organization, position) == stored[2:]


def test_there_is_no_position_behind_an_event_that_is_not_there(
    world: World, organization: str
) -> None:
    (theirs,) = world.queued(world.organization())
    for event_id in (theirs, "evt_nothing"):
        assert world.run(world.store.log_position(organization, event_id)) is None


def test_whoever_waits_for_the_log_hears_of_an_event_and_misses_none(
    world: World, organization: str
) -> None:
    heard = world.run(world.store.wait_log(-1, 0.0))
    for _ in range(_MOST_TOLD_AT_FIRST):  # a store whose listener has just connected tells so once
        heard, before = world.run(world.store.wait_log(heard, 0.05)), heard
        if heard == before:
            break
    else:
        pytest.fail("it tells of something although nothing comes")
    world.queued(organization)
    after = world.run(world.store.wait_log(heard, PATIENCE_S))
    assert after != heard
