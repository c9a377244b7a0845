"""Inboxes: an event is in one consumer's hands at a time until it is acknowledged; none is lost."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from tests.contract.conftest import PATIENCE_S, FrozenClock, World
from tests.contract.retention import cutoffs

from triggers_api.errors import InvalidState, MalformedValue
from triggers_api.model.inbox import (
    DEFAULT_INBOX,
    MOST_INBOXES,
    InboxAction,
    InboxCounts,
    InboxStatus,
    LeasedEvent,
)
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import (
    EventFilter,
    InboxSeek,
    Page,
    Pulled,
    Reached,
    RoutedEvent,
)

LEASE_S = 30.0
PLENTY = 16 << 20

ACKED, NACKED, EXTENDED = InboxStatus.ACKED, InboxStatus.NACKED, InboxStatus.EXTENDED
LOST, UNKNOWN = InboxStatus.LEASE_LOST, InboxStatus.NOT_FOUND


class Consumer:
    """Short ways of asking an inbox."""

    def __init__(self, world: World, organization: str, name: str = DEFAULT_INBOX) -> None:
        self._world = world
        self.organization = organization
        self.name = name

    def look(
        self,
        limit: int = 100,
        types: Sequence[str] | None = None,
        *,
        most_bytes: int = PLENTY,
        reached: Reached | None = None,
    ) -> Pulled | None:
        """One look."""
        return self._world.run(
            self._world.store.pull_inbox(
                self.organization,
                self.name,
                limit=limit,
                lease_s=LEASE_S,
                types=types,
                most_bytes=most_bytes,
                reached=reached or Reached(),
            )
        )

    def leased(self, limit: int = 100, types: Sequence[str] | None = None) -> list[LeasedEvent]:
        """What is handed out: looked for as often as it takes."""
        give_up_at = time.monotonic() + PATIENCE_S
        reached = Reached()
        while True:
            pulled = self.look(limit, types, reached=reached)
            assert pulled is not None
            assert time.monotonic() < give_up_at, "the inbox does not come to an end"
            if pulled.events or not (pulled.unfinished or pulled.late):
                return list(pulled.events)
            reached = pulled.reached
            if pulled.late:
                time.sleep(0.005)  # any transaction of the server holds the log up

    def pull(self, limit: int = 100, types: Sequence[str] | None = None) -> list[str]:
        """The ids of what is handed out."""
        return [each.event.id for each in self.leased(limit, types)]

    def settle(
        self,
        action: InboxAction,
        named: Sequence[str],
        *,
        by_id: bool = False,
        seconds: float = 0.0,
    ) -> list[InboxStatus]:
        """What each is answered."""
        outcomes = self._world.run(
            self._world.store.settle_inbox(
                self.organization, self.name, action, named, by_id=by_id, seconds=seconds
            )
        )
        assert outcomes is not None
        return [each.status for each in outcomes]

    def ack(self, *leased: LeasedEvent) -> list[InboxStatus]:
        """Acknowledge under receipts."""
        return self.settle(InboxAction.ACK, [each.receipt for each in leased])

    def ack_ids(self, *event_ids: str) -> list[InboxStatus]:
        """Acknowledge by id."""
        return self.settle(InboxAction.ACK, event_ids, by_id=True)

    def peek(self, type_pattern: str | None = None, *, limit: int = 100) -> list[str]:
        """The ids of what is not acknowledged."""
        found: list[str] = []
        after = None
        while True:
            page = self._world.run(
                self._world.store.peek_inbox(
                    self.organization,
                    self.name,
                    type_pattern=type_pattern,
                    after=after,
                    limit=limit,
                    most_bytes=PLENTY,
                )
            )
            assert page is not None
            found += [event.id for event in page.events]
            after = page.position
            if not page.unfinished:
                return found

    def seek(self, to: InboxSeek) -> bool | None:
        """Go on elsewhere."""
        return self._world.run(self._world.store.seek_inbox(self.organization, self.name, to))

    def count(self, most: int = 1000) -> InboxCounts:
        """How many there are."""
        counts = self._world.run(self._world.store.count_inbox(self.organization, self.name, most))
        assert counts is not None
        return counts


@pytest.fixture
def inbox(world: World, organization: str) -> Consumer:
    """The default one of an organization."""
    return Consumer(world, organization)


def named(world: World, organization: str, name: str, *types: str, end: bool = False) -> Consumer:
    world.run(world.store.save_inbox(organization, name, types or None, from_end=end))
    return Consumer(world, organization, name)


def stored(world: World, organization: str, count: int = 1, **fields: object) -> list[str]:
    """Events that the log tells of."""
    made = world.queued(organization, count, **fields)
    told(world, organization)
    return made


def told(world: World, organization: str) -> None:
    """Wait until the log tells of all that is stored."""
    there = len(world.run(world.store.events(organization, EventFilter(), Page(limit=1000))))
    give_up_at = time.monotonic() + PATIENCE_S
    while len(world.run(world.store.log(organization, None, 1000)).events) < there:
        assert time.monotonic() < give_up_at, "not everything that is stored is told"
        time.sleep(0.005)


# ── handing out ───────────────────────────────────────────────────────────────────────────────


def test_events_are_handed_out_oldest_first_and_once(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = stored(world, organization, 7)
    assert inbox.pull(3) == made[:3]
    assert inbox.pull(3) == made[3:6]
    assert inbox.pull(3) == made[6:]
    assert inbox.pull(3) == []
    (later,) = stored(world, organization)
    assert inbox.pull() == [later]


def test_what_is_handed_out_has_its_contents_a_lease_and_a_count(
    world: World, organization: str, inbox: Consumer
) -> None:
    stored(world, organization, source="shop", key="42", metadata=b'{"a":"b"}', dedup_id="d")
    (listed,) = world.run(world.store.events(organization, EventFilter(), Page()))
    (leased,) = inbox.leased()
    assert leased.event == listed
    assert leased.lease_until == world.clock().after(seconds=LEASE_S)
    assert leased.receive_count == 1


def test_an_event_comes_again_when_its_lease_has_run_out(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = stored(world, organization, 3)
    first = inbox.leased(2)
    world.clock.advance(seconds=LEASE_S - 0.001)
    assert inbox.pull() == made[2:]
    world.clock.advance(seconds=0.001)
    again = inbox.leased()
    assert [each.event.id for each in again] == made[:2]
    assert [each.receive_count for each in again] == [2, 2]
    assert inbox.ack(*first) == [LOST, LOST]
    assert inbox.ack(*again) == [ACKED, ACKED]


def test_an_acknowledged_event_never_comes_again(
    world: World, organization: str, inbox: Consumer
) -> None:
    stored(world, organization, 3)
    leased = inbox.leased()
    assert inbox.ack(*leased) == [ACKED] * 3
    world.clock.advance(seconds=10 * LEASE_S)
    assert inbox.pull() == []
    assert inbox.peek() == []
    assert inbox.ack(*leased) == [LOST] * 3


def test_a_receipt_is_worth_nothing_when_its_time_is_over(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = stored(world, organization)
    (leased,) = inbox.leased()
    world.clock.advance(seconds=LEASE_S)
    for action in InboxAction:
        assert inbox.settle(action, [leased.receipt], seconds=5.0) == [LOST]
    assert inbox.pull() == made


def test_a_receipt_named_twice_is_settled_once(
    world: World, organization: str, inbox: Consumer
) -> None:
    stored(world, organization)
    (leased,) = inbox.leased()
    assert inbox.ack(leased, leased) == [ACKED, LOST]


def test_a_receipt_opens_no_other_inbox(world: World, organization: str, inbox: Consumer) -> None:
    stored(world, organization)
    other = named(world, organization, "other")
    (leased,) = inbox.leased()
    (theirs,) = other.leased()
    assert other.ack(leased) == [LOST]
    assert inbox.ack(theirs) == [LOST]
    assert inbox.ack(leased) == [ACKED]


@pytest.mark.parametrize("receipt", ["", "x", "1.2", "1.2.3", "-1.-2.-3", f"{1:032x}.1-{2:032x}.3"])
def test_a_receipt_of_another_store_is_worth_nothing(
    world: World, organization: str, inbox: Consumer, receipt: str
) -> None:
    made = stored(world, organization)
    for action in InboxAction:
        assert inbox.settle(action, [receipt]) == [LOST]
    assert inbox.pull() == made


def test_what_is_given_back_comes_again_at_once_or_later(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = stored(world, organization, 2)
    at_once, later = inbox.leased()
    assert inbox.settle(InboxAction.NACK, [at_once.receipt]) == [NACKED]
    assert inbox.settle(InboxAction.NACK, [later.receipt], seconds=60.0) == [NACKED]
    (again,) = inbox.leased()
    assert (again.event.id, again.receive_count) == (made[0], 2)
    assert inbox.ack(at_once) == [LOST]
    assert inbox.ack(again) == [ACKED]
    world.clock.advance(seconds=59.999)
    assert inbox.pull() == []
    world.clock.advance(seconds=0.001)
    assert inbox.pull() == made[1:]


def test_a_lease_can_be_made_longer(world: World, organization: str, inbox: Consumer) -> None:
    made = stored(world, organization)
    (leased,) = inbox.leased()
    world.clock.advance(seconds=LEASE_S - 1)
    assert inbox.settle(InboxAction.EXTEND, [leased.receipt], seconds=100.0) == [EXTENDED]
    world.clock.advance(seconds=99.0)
    assert inbox.pull() == []
    assert inbox.settle(InboxAction.EXTEND, [leased.receipt], seconds=100.0) == [EXTENDED]
    world.clock.advance(seconds=100.0)
    assert inbox.pull() == made


def test_an_idle_inbox_says_when_something_falls_due(
    world: World, organization: str, inbox: Consumer
) -> None:
    stored(world, organization)
    (leased,) = inbox.leased()
    pulled = inbox.look()
    assert pulled is not None
    assert pulled.next_at == leased.lease_until
    inbox.ack(leased)
    pulled = inbox.look()
    assert pulled is not None
    assert pulled.next_at is None


def test_payloads_together_are_not_larger_than_asked_for_but_one_always_comes(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = [
        stored(world, organization, payload=b'"%b"' % (b"x" * size))[0]
        for size in (998, 498, 498, 1998)
    ]
    handed_out = []
    for _ in range(3):
        pulled = inbox.look(most_bytes=1000)
        assert pulled is not None
        handed_out.append([each.event.id for each in pulled.events])
    assert handed_out == [made[:1], made[1:3], made[3:]]
    world.clock.advance(seconds=LEASE_S)
    again = []
    for _ in range(3):
        pulled = inbox.look(most_bytes=1000)
        assert pulled is not None
        again.append([each.event.id for each in pulled.events])
    assert again == handed_out


def test_events_of_others_and_of_the_service_are_in_nobody_elses_inbox(
    world: World, organization: str, inbox: Consumer
) -> None:
    other = Consumer(world, world.organization("other"))
    world.queued(organization, operational=True)
    mine, theirs = stored(world, organization), stored(world, other.organization)
    assert inbox.pull() == mine
    assert other.pull() == theirs
    assert other.ack_ids(*mine) == [UNKNOWN]
    assert inbox.peek() == mine


def test_a_deleted_event_is_in_no_inbox_wherever_it_stood(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = stored(world, organization, 4)
    leased = inbox.leased(2)
    for event_id in (made[0], made[2]):
        assert world.run(world.store.delete_event(organization, event_id))
    assert inbox.peek() == [made[1], made[3]]
    assert inbox.count() == InboxCounts(
        unacked=2, leased=1, exact=True, oldest_received_at=leased[1].event.received_at
    )
    world.clock.advance(seconds=LEASE_S)
    assert inbox.pull() == [made[1], made[3]]
    assert inbox.ack_ids(made[0]) == [UNKNOWN]


# ── what is hidden ────────────────────────────────────────────────────────────────────────────


def test_a_scheduled_event_comes_when_its_time_has_come_wherever_the_inbox_is(
    world: World, organization: str, inbox: Consumer
) -> None:
    due = world.clock().after(seconds=100)
    (scheduled,) = stored(world, organization, deliver_at=due)
    (after,) = stored(world, organization)
    fresh = named(world, organization, "fresh")
    assert inbox.peek() == [after]
    assert inbox.pull() == [after]
    assert inbox.ack_ids(scheduled) == [UNKNOWN]
    pulled = inbox.look()
    assert pulled is not None
    assert pulled.next_at == world.clock().after(seconds=LEASE_S)
    inbox.ack_ids(after)
    world.clock.advance(seconds=99.999)
    assert inbox.peek() == []
    assert inbox.count().unacked == 0
    pulled = inbox.look()
    assert pulled is not None
    assert (pulled.events, pulled.next_at) == ((), due)
    world.clock.advance(seconds=0.001)
    assert inbox.peek() == [scheduled]
    assert inbox.count().unacked == 1
    (leased,) = inbox.leased()
    assert (leased.event.id, leased.receive_count) == (scheduled, 1)
    assert inbox.ack(leased) == [ACKED]
    assert fresh.pull() == [scheduled, after]


@pytest.mark.parametrize("to", ["end", "time", "event"])
def test_a_seek_does_not_pass_what_is_hidden(
    world: World, organization: str, inbox: Consumer, to: str
) -> None:
    due = world.clock().after(seconds=100)
    (scheduled,) = stored(world, organization, deliver_at=due)
    stored(world, organization, 2)
    world.clock.advance(seconds=1)
    (last,) = stored(world, organization)
    if to == "end":
        assert inbox.seek(InboxSeek(end=True))
    elif to == "time":
        assert inbox.seek(InboxSeek(at=world.clock()))
    else:
        assert inbox.seek(InboxSeek(event_id=last))
    assert inbox.pull() == ([] if to == "end" else [last])
    world.clock.advance(seconds=99)
    assert scheduled in inbox.pull()


def test_a_routed_event_is_in_the_inbox_like_one_that_waits_to_be_routed(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = stored(world, organization, 2)
    claim = world.run(world.store.claim_queue(1, 30.0))
    world.run(world.store.fan_out(claim.token, [RoutedEvent(claim.events[0], ())]))
    told(world, organization)
    assert inbox.pull() == made


# ── by id, and out of turn ────────────────────────────────────────────────────────────────────


def test_events_can_be_acknowledged_by_id_whoever_has_them(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = stored(world, organization, 5)
    leased = inbox.leased(2)
    assert inbox.ack_ids(made[0], made[3], "evt_unknown", made[3]) == [ACKED, ACKED, UNKNOWN, ACKED]
    assert inbox.peek() == [made[1], made[2], made[4]]
    assert inbox.ack(*leased) == [LOST, ACKED]
    assert inbox.pull() == [made[2], made[4]]
    assert inbox.ack_ids(*made) == [ACKED] * 5
    assert inbox.peek() == []


def test_whoever_acknowledges_what_was_only_looked_at_leaves_no_rows(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = stored(world, organization, 6)
    for event_id in (*made[1:4], made[0], *made[4:]):
        assert inbox.ack_ids(event_id) == [ACKED]
    assert world.engine.execute("SELECT count(*) FROM inbox_items") == [(0,)]
    assert inbox.pull() == []


def test_what_was_acknowledged_out_of_turn_is_passed_over_and_its_row_with_it(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = stored(world, organization, 6)
    inbox.ack_ids(made[1], made[2], made[4])
    assert inbox.pull(2) == [made[0], made[3]]
    assert inbox.pull() == [made[5]]
    assert inbox.ack_ids(made[0], made[3], made[5]) == [ACKED] * 3
    assert world.engine.execute("SELECT count(*) FROM inbox_items") == [(0,)]


def test_what_nobody_has_can_be_put_off_by_id_but_not_held_for_longer(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = stored(world, organization, 3)

    def by_id(action: InboxAction, event_id: str) -> InboxStatus:
        (status,) = inbox.settle(action, [event_id], by_id=True, seconds=60.0)
        return status

    assert by_id(InboxAction.EXTEND, made[1]) is LOST
    assert by_id(InboxAction.NACK, made[1]) is NACKED
    assert inbox.pull() == [made[0], made[2]]
    assert by_id(InboxAction.EXTEND, made[0]) is EXTENDED
    assert by_id(InboxAction.ACK, made[2]) is ACKED
    assert by_id(InboxAction.NACK, made[2]) is UNKNOWN
    assert by_id(InboxAction.EXTEND, made[2]) is UNKNOWN
    world.clock.advance(seconds=LEASE_S)
    assert inbox.pull() == []
    world.clock.advance(seconds=LEASE_S)
    assert sorted(inbox.pull()) == sorted(made[:2])


# ── types ─────────────────────────────────────────────────────────────────────────────────────


def test_an_inbox_takes_in_the_types_it_was_made_for(world: World, organization: str) -> None:
    consumer = named(world, organization, "orders", "order.*", "refund")
    wanted = []
    for event_type in ("order.created", "user.created", "refund", "order", "order.paid"):
        (made,) = stored(world, organization, type=event_type)
        if event_type in {"order.created", "refund", "order.paid"}:
            wanted.append(made)
        else:
            assert consumer.ack_ids(made) == [UNKNOWN]
    assert consumer.count().unacked == 3
    assert consumer.peek() == wanted
    assert consumer.pull() == wanted


def test_one_look_goes_past_a_bounded_number_of_events_and_the_next_one_on(
    world: World, organization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine in ("sqlite", "postgres"):
        monkeypatch.setattr(f"triggers_api.store.{engine}.inbox_verbs.LOOKED_AT", 4)
    consumer = named(world, organization, "rare", "rare")
    stored(world, organization, 9, type="common")
    (wanted,) = stored(world, organization, type="rare")
    first = consumer.look(1)
    assert first is not None
    assert (first.events, first.unfinished) == ((), True)
    assert consumer.pull() == [wanted]
    assert consumer.peek("rare") == [wanted]


def test_who_asks_for_some_types_leaves_the_others_to_others(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = [stored(world, organization, type=each)[0] for each in "abcabcab"]
    assert inbox.pull(2, ["b"]) == [made[1], made[4]]
    assert inbox.pull(10, ["b", "c"]) == [made[2], made[5], made[7]]
    assert inbox.pull(10, ["b", "c"]) == []
    assert inbox.ack_ids(made[4], made[5]) == [ACKED, ACKED]
    assert inbox.peek() == [made[0], made[1], made[2], made[3], made[6], made[7]]
    assert inbox.pull() == [made[0], made[3], made[6]]
    assert inbox.ack_ids(*made) == [ACKED] * 8
    assert world.engine.execute("SELECT count(*) FROM inbox_items") == [(0,)]


def test_a_lease_out_of_turn_is_acknowledged_given_back_and_runs_out_like_any_other(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = [stored(world, organization, type=each)[0] for each in "abbb"]
    acked, given_back, kept = inbox.leased(10, ["b"])
    assert inbox.ack(acked) == [ACKED]
    assert inbox.ack(acked) == [LOST]
    assert inbox.settle(InboxAction.NACK, [given_back.receipt]) == [NACKED]
    assert inbox.peek() == [made[0], made[2], made[3]]
    world.clock.advance(seconds=LEASE_S)
    assert inbox.ack(kept) == [LOST]
    assert sorted(inbox.pull(10, ["b"])) == made[2:]
    assert inbox.pull() == [made[0]]


def test_what_waits_to_come_again_hides_nothing_of_another_type(
    world: World, organization: str, inbox: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine in ("sqlite", "postgres"):
        monkeypatch.setattr(f"triggers_api.store.{engine}.inbox_verbs.LOOKED_AT", 3)
    stored(world, organization, 7, type="a")
    (wanted,) = stored(world, organization, type="b")
    stored(world, organization, 7, type="a")
    (second,) = stored(world, organization, type="b")
    while inbox.pull(10):
        pass
    world.clock.advance(seconds=LEASE_S)
    (third,) = stored(world, organization, type="b")
    found: list[str] = []
    while more := inbox.pull(1, ["b"]):
        found += more
    assert found == [wanted, second, third]


# ── more than one ─────────────────────────────────────────────────────────────────────────────


def test_every_organization_has_its_default_inbox(world: World, organization: str) -> None:
    store = world.store
    (only,) = world.run(store.inboxes(organization))
    assert (only.name, only.types, only.created_at) == (DEFAULT_INBOX, None, None)
    assert world.run(store.inbox(organization, DEFAULT_INBOX)) == only
    assert world.run(store.inbox(organization, "other")) is None
    world.run(store.save_inbox(organization, "b", ["x"], from_end=False))
    world.run(store.save_inbox(organization, "a", None, from_end=True))
    listed = world.run(store.inboxes(organization))
    assert [(each.name, each.types) for each in listed] == [
        ("a", None),
        ("b", ("x",)),
        (DEFAULT_INBOX, None),
    ]


def test_inboxes_know_nothing_of_each_other(world: World, organization: str) -> None:
    made = stored(world, organization, 3)
    first, second = named(world, organization, "first"), named(world, organization, "second")
    late = named(world, organization, "late", end=True)
    assert first.ack(*first.leased()) == [ACKED] * 3
    assert second.pull() == made
    assert late.pull() == []
    after = stored(world, organization)
    assert late.pull() == first.pull() == second.pull() == after


def test_an_inbox_can_be_given_other_types_for_what_it_has_not_come_by(
    world: World, organization: str
) -> None:
    store = world.store
    consumer = named(world, organization, "some", "a")
    first = stored(world, organization, type="a")
    stored(world, organization, type="b")
    assert consumer.pull() == first
    assert consumer.pull() == []
    saved, is_new = world.run(store.save_inbox(organization, "some", ["b"], from_end=True))
    assert (saved.types, is_new) == (("b",), False)
    stored(world, organization, type="a")
    second = stored(world, organization, type="b")
    assert consumer.pull() == second


def test_a_deleted_inbox_is_gone_and_one_of_its_name_begins_anew(
    world: World, organization: str
) -> None:
    store = world.store
    made = stored(world, organization, 3)
    consumer = named(world, organization, "some")
    leased = consumer.leased(2)
    assert world.run(store.delete_inbox(organization, "some"))
    assert not world.run(store.delete_inbox(organization, "some"))
    assert consumer.look() is None
    assert consumer.seek(InboxSeek()) is None
    nothing = store.settle_inbox(organization, "some", InboxAction.ACK, made, by_id=True)
    assert world.run(nothing) is None
    assert world.run(store.count_inbox(organization, "some", 10)) is None
    named(world, organization, "some")
    assert consumer.ack(*leased) == [LOST, LOST]
    assert consumer.pull() == made


def test_there_are_so_many_inboxes_and_no_more(world: World, organization: str) -> None:
    store = world.store
    for count in range(MOST_INBOXES):
        world.run(store.save_inbox(organization, f"n{count}", None, from_end=False))
    with pytest.raises(InvalidState, match="delete one"):
        world.run(store.save_inbox(organization, "more", None, from_end=False))
    _, is_new = world.run(store.save_inbox(organization, "n0", ["a"], from_end=False))
    assert not is_new
    world.run(store.save_inbox(organization, DEFAULT_INBOX, ["a"], from_end=False))


def test_an_organizations_inboxes_end_with_it_and_leave_nothing(
    world: World, organization: str
) -> None:
    store = world.store
    stored(world, organization, 5)
    for name in (DEFAULT_INBOX, "some"):
        assert len(named(world, organization, name).pull(5)) == 5
    world.run(store.delete_organization(organization))
    assert world.engine.execute("SELECT count(*) FROM inboxes") == [(0,)]
    assert world.run(store.prune_inboxes(4)) == 4
    assert world.run(store.prune_inboxes(100)) == 6
    assert world.run(store.prune_inboxes(100)) == 0
    for table in ("inbox_items", "inbox_remains"):
        assert world.engine.execute(f"SELECT count(*) FROM {table}") == [(0,)]


# ── going elsewhere ───────────────────────────────────────────────────────────────────────────


def test_a_seek_to_the_start_forgets_what_was_acknowledged_and_ends_leases(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = stored(world, organization, 3)
    leased = inbox.leased()
    inbox.ack(leased[0])
    assert inbox.seek(InboxSeek())
    assert inbox.ack(*leased) == [LOST] * 3
    again = inbox.leased()
    assert [each.event.id for each in again] == made
    assert [each.receive_count for each in again] == [1, 1, 1]


def test_a_seek_to_the_end_is_done_with_everything_so_far(
    world: World, organization: str, inbox: Consumer
) -> None:
    stored(world, organization, 3)
    (leased,) = inbox.leased(1)
    assert inbox.seek(InboxSeek(end=True))
    world.clock.advance(seconds=LEASE_S)
    assert inbox.ack(leased) == [LOST]
    assert inbox.pull() == []
    assert inbox.peek() == []
    after = stored(world, organization)
    assert inbox.pull() == after


def test_a_seek_to_an_event_makes_that_one_the_next(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = stored(world, organization, 5)
    inbox.ack(*inbox.leased())
    assert inbox.seek(InboxSeek(event_id=made[3]))
    assert inbox.pull() == made[3:]
    assert inbox.seek(InboxSeek(event_id=made[1]))
    assert inbox.peek() == made[1:]
    (theirs,) = stored(world, world.organization("other"))
    for unknown in (theirs, "evt_unknown"):
        assert inbox.seek(InboxSeek(event_id=unknown)) is False
    assert inbox.peek() == made[1:]


def test_a_seek_to_a_moment_goes_on_with_what_was_received_then(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = []
    for _ in range(4):
        made += stored(world, organization)
        world.clock.advance(seconds=3600)
    moment = world.clock().after(seconds=-2 * 3600)
    assert inbox.seek(InboxSeek(at=moment))
    assert inbox.pull() == made[2:]
    assert inbox.seek(InboxSeek(at=moment.after(seconds=0.001)))
    assert inbox.pull() == made[3:]
    assert inbox.seek(InboxSeek(at=world.clock().after(seconds=10)))
    assert inbox.pull() == []
    assert inbox.seek(InboxSeek(at=Timestamp(0)))
    assert inbox.pull() == made


# ── looking ───────────────────────────────────────────────────────────────────────────────────


def test_a_look_shows_what_is_not_acknowledged_page_by_page_and_changes_nothing(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = stored(world, organization, 9)
    leased = inbox.leased(4)
    inbox.ack(leased[2])
    inbox.ack_ids(made[6])
    shown = [each for each in made if each not in {made[2], made[6]}]
    for limit in (1, 2, 3, 100):
        assert inbox.peek(limit=limit) == shown
    assert inbox.pull() == [made[4], made[5], made[7], made[8]]


@pytest.mark.parametrize("position", ["", "x", "evt_", "1-", "\x00"])
def test_what_is_no_position_is_refused(world: World, organization: str, position: str) -> None:
    peek = world.store.peek_inbox(
        organization,
        DEFAULT_INBOX,
        type_pattern=None,
        after=position,
        limit=10,
        most_bytes=PLENTY,
    )
    with pytest.raises(MalformedValue):
        world.run(peek)


def test_counting_ends_somewhere_and_says_so(
    world: World, organization: str, inbox: Consumer
) -> None:
    assert inbox.count() == InboxCounts(unacked=0, leased=0, exact=True, oldest_received_at=None)
    began = world.clock()
    stored(world, organization, 4)
    world.clock.advance(seconds=5)
    stored(world, organization, 4)
    inbox.ack(*inbox.leased(3)[:2])
    assert inbox.count() == InboxCounts(unacked=6, leased=1, exact=True, oldest_received_at=began)
    assert inbox.count(4) == InboxCounts(unacked=4, leased=1, exact=False, oldest_received_at=began)


def test_everything_is_where_it_was_after_a_crash(
    world: World, organization: str, inbox: Consumer
) -> None:
    made = stored(world, organization, 4)
    acked, held, given_back = inbox.leased(3)
    inbox.ack(acked)
    inbox.settle(InboxAction.NACK, [given_back.receipt], seconds=1.0)
    world.run(world.engine.crash())
    told(world, organization)
    assert inbox.peek() == made[1:]
    assert inbox.pull() == made[3:]
    assert inbox.ack(held) == [ACKED]
    world.clock.advance(seconds=1)
    assert inbox.pull() == [made[2]]


def test_an_inbox_does_not_hold_old_events_and_nothing_is_left_in_it_of_those_that_went(
    world: World, organization: str, inbox: Consumer, clock: FrozenClock
) -> None:
    other = Consumer(world, world.organization("Other"))
    stored(world, organization, 6)
    stored(world, other.organization)
    world.route(world.claim_queue())
    given_back, leased = inbox.leased(1), inbox.leased(1)
    inbox.settle(InboxAction.NACK, [given_back[0].receipt])
    inbox.ack_ids(inbox.peek()[-1])
    assert other.pull() != []
    clock.advance(seconds=8 * 86_400)
    now = clock()
    pruned = world.run(
        world.store.prune_events(
            cutoffs(
                now.after(seconds=-7 * 86_400),
                {other.organization: now.after(seconds=-30 * 86_400)},
            ),
            after=None,
            limit=100,
        )
    )
    assert (pruned.events, pruned.position) == (6, None)
    assert world.engine.execute("SELECT count(*) FROM inbox_items") == [(1,)]
    new = stored(world, organization)
    assert inbox.pull() == new
    assert inbox.ack(*leased)[0] in {LOST, UNKNOWN}
    assert len(other.pull()) == 1
    assert inbox.count().unacked == 1
