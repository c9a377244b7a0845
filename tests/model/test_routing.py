"""Which subscriptions an event goes to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model.filter import EventView
from triggers_api.model.routing import RoutingTable, route
from triggers_api.model.subscription import Subscription, SubscriptionStatus
from triggers_api.model.timestamp import Timestamp

MADE = Timestamp(1_795_348_800_000)


def subscription(
    name: str = "sub_1",
    *event_types: str,
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE,
    created_at: int = MADE,
    expires_at: int | None = None,
    filter: str | None = None,  # noqa: A002 - the field's name
    operational: bool = False,
) -> Subscription:
    return Subscription(
        id=name,
        url="https://example.com/hook",
        event_types=event_types or ("*",),
        filter=filter,
        operational=operational,
        status=status,
        enabled=status is not SubscriptionStatus.DISABLED,
        expires_at=None if expires_at is None else Timestamp(expires_at),
        created_at=Timestamp(created_at),
        updated_at=Timestamp(created_at),
    )


def event(event_type: str = "order.created", payload: bytes = b'{"n":1}') -> EventView:
    return EventView(event_type, payload=payload)


def goes_to(one: Subscription, *, received_at: int = MADE + 1, now: int = MADE + 2) -> bool:
    return bool(route(event(), received_at, [one], now=now))


def test_an_active_subscription_gets_the_types_it_wants() -> None:
    assert goes_to(subscription("sub_1", "order.created"))
    assert goes_to(subscription("sub_1", "invoice.*", "order.*"))
    assert not goes_to(subscription("sub_1", "invoice.*", "order.deleted"))


@pytest.mark.parametrize("operational", [True, False])
def test_the_service_s_own_events_go_to_those_that_asked_for_them_and_to_nobody_else(
    operational: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    both = [subscription("sub_1"), subscription("sub_2", operational=True)]
    table = RoutingTable(both)
    for _ in range(2):
        own = EventView("subscription.disabled", payload=b"{}", operational=operational)
        chosen = route(own, MADE, both, now=MADE)
        assert [each.operational for each in chosen] == [operational]
        assert table.route(own, MADE, now=MADE) == chosen
        operational = not operational


def test_one_that_two_patterns_match_gets_the_event_once() -> None:
    assert len(route(event(), MADE, [subscription("sub_1", "*", "order.*")], now=MADE)) == 1


def test_a_subscription_made_later_does_not_get_the_event() -> None:
    late = subscription(created_at=MADE + 10)
    assert not goes_to(late, received_at=MADE + 9, now=MADE + 20)
    assert goes_to(late, received_at=MADE + 10, now=MADE + 20)


@pytest.mark.parametrize(
    ("status", "matches"),
    [("active", True), ("paused", True), ("disabled", False), ("expired", False)],
)
def test_a_paused_subscription_still_matches_a_disabled_or_expired_one_does_not(
    status: str, *, matches: bool
) -> None:
    assert goes_to(subscription(status=SubscriptionStatus(status))) is matches


@pytest.mark.parametrize("status", [SubscriptionStatus.ACTIVE, SubscriptionStatus.PAUSED])
def test_a_subscription_expires_at_the_moment_it_says(status: SubscriptionStatus) -> None:
    fleeting = subscription(status=status, expires_at=MADE + 100)
    assert goes_to(fleeting, now=MADE + 99)
    assert not goes_to(fleeting, now=MADE + 100)
    assert fleeting.status_at(MADE + 99) is status
    assert fleeting.status_at(MADE + 100) is SubscriptionStatus.EXPIRED


def test_a_disabled_subscription_stays_disabled_when_it_expires() -> None:
    gone = subscription(status=SubscriptionStatus.DISABLED, expires_at=MADE)
    assert gone.status_at(MADE + 1) is SubscriptionStatus.DISABLED


def test_many_get_the_event_in_the_order_in_which_they_are_listed() -> None:
    listed = [subscription(f"sub_{n}") for n in (3, 1, 2)]
    assert [s.id for s in route(event("x"), MADE, listed, now=MADE)] == ["sub_3", "sub_1", "sub_2"]


patterns = st.text("ab.*", min_size=1, max_size=4)
subscriptions = st.builds(
    lambda patterns, filter_, status, created_at, expires_at: subscription(
        "sub_x",
        *patterns,
        filter=filter_,
        status=status,
        created_at=created_at,
        expires_at=expires_at,
    ),
    st.lists(patterns, min_size=1, max_size=3),
    st.sampled_from([None, "payload.n == 1", "payload.m == 1", "type == 'a'", "not a filter"]),
    st.sampled_from(SubscriptionStatus),
    st.integers(MADE, MADE + 10),
    st.none() | st.integers(MADE, MADE + 10),
)
questions = st.tuples(
    st.text("ab.", min_size=1, max_size=4),
    st.integers(MADE, MADE + 10),
    st.integers(MADE, MADE + 10),
)


@given(st.lists(subscriptions, max_size=6), st.lists(questions, min_size=1, max_size=10))
def test_a_routing_table_answers_as_route_does_each_time_it_is_asked(
    subscribed: list[Subscription], asked: list[tuple[str, int, int]]
) -> None:
    table = RoutingTable(subscribed)
    assert table.has_filters is any(one.filter is not None for one in subscribed)
    for event_type, received_at, now in asked * 2:
        assert table.route(event(event_type), received_at, now=now) == route(
            event(event_type), received_at, subscribed, now=now
        )


def test_a_filter_decides_among_those_that_want_the_type() -> None:
    listed = [
        subscription("sub_1", filter="payload.n == 1"),
        subscription("sub_2", filter="payload.n == 2"),
        subscription("sub_3", "invoice.*", filter="payload.n == 1"),
        subscription("sub_4"),
    ]
    assert [s.id for s in route(event(), MADE, listed, now=MADE)] == ["sub_1", "sub_4"]


def test_each_filter_without_an_answer_is_told_once_and_the_others_decide() -> None:
    told: list[str] = []
    listed = [
        subscription("sub_1", filter="payload.missing == 1"),
        subscription("sub_2", filter="payload.n.deeper == 1"),
        subscription("sub_3", filter="payload.n > 1"),
        subscription("sub_4", filter="payload.n == 1"),
        subscription("sub_5", "other", filter="payload.missing == 1"),
        subscription("sub_6", filter="payload.missing == 1", status=SubscriptionStatus.DISABLED),
    ]
    assert route(event(), MADE, listed, now=MADE, on_fault=told.append) == [listed[3]]
    assert told == ["missing-field", "wrong-type"]
    table = RoutingTable(listed)
    assert table.route(event(), MADE, now=MADE, on_fault=told.append) == [listed[3]]
    assert told == ["missing-field", "wrong-type"] * 2


def test_a_routing_table_keeps_its_answers_right_and_few_under_endless_types() -> None:
    table = RoutingTable([subscription("sub_1", "order.*"), subscription("sub_2", "*9")])
    for n in range(10_000):
        assert len(table.route(event(f"order.{n}"), MADE, now=MADE)) == 1 + (n % 10 == 9)
    assert len(table._by_type) <= 4096
