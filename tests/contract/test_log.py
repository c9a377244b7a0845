"""The log: a reader who goes from position to position is told of each event once and skips none."""

from __future__ import annotations

import pytest
from tests.contract.conftest import World

from triggers_api.errors import MalformedValue
from triggers_api.store.base import EventFilter, Page


def read(world: World, organization: str, after: str | None, limit: int = 100) -> list[str]:
    page = world.run(world.store.log(organization, after, limit))
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
    told, position = [], None
    while True:
        page = world.run(world.store.log(organization, position, 3))
        if not page.events:
            break
        told += [event.id for event in page.events]
        position = page.position
    assert told == stored
    assert page.position == position
    (later,) = world.queued(organization)
    assert read(world, organization, position) == [later]


def test_events_of_one_transaction_are_told_once_each_across_pages(
    world: World, organization: str
) -> None:
    stored = world.queued(organization, 6)
    first = world.run(world.store.log(organization, None, 4))
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
    (told,) = world.run(world.store.log(organization, None, 10)).events
    assert told == listed


@pytest.mark.parametrize(
    "position", ["", "x", "evt_", "1-", "-", "99999999999999999999-00", "\x00"]
)
def test_what_is_no_position_is_refused(world: World, organization: str, position: str) -> None:
    with pytest.raises(MalformedValue):
        world.run(world.store.log(organization, position, 10))
