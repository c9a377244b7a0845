"""Explanations: routing's own decision, and what is on file."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model.delivery import Delivery, DeliveryStatus, Origin
from triggers_api.model.event import EventDetail, EventStatus, Moment
from triggers_api.model.explain import Explanation, FilterPart, explain
from triggers_api.model.filter import EventView
from triggers_api.model.routing import Reason, route
from triggers_api.model.subscription import Subscription, SubscriptionStatus
from triggers_api.model.timestamp import Timestamp

MADE = Timestamp(1_795_348_800_000)
NOW = MADE + 1000


def subscription(name: str = "sub_1", *event_types: str, **fields: Any) -> Subscription:  # noqa: ANN401
    return Subscription(
        id=name,
        url="https://example.com/hook",
        event_types=event_types or ("*",),
        created_at=Timestamp(fields.pop("created_at", MADE)),
        updated_at=MADE,
        **{"status": SubscriptionStatus.ACTIVE} | fields,
    )


def delivery(to: str = "sub_1", name: str = "dlv_1", **fields: Any) -> Delivery:  # noqa: ANN401
    given: dict[str, Any] = {
        "status": DeliveryStatus.PENDING,
        "reason": None,
        "origin": Origin.EVENT,
        "attempt_count": 0,
        "next_attempt_at": Timestamp(MADE + 5),
        "finished_at": None,
    }
    return Delivery(
        id=name,
        event_id="evt_1",
        event_type="order.created",
        subscription_id=to,
        created_at=MADE,
        **given | fields,
    )


def event(
    *deliveries: Delivery,
    status: EventStatus = EventStatus.PROCESSED,
    timeline: tuple[Moment, ...] = (),
    **fields: Any,  # noqa: ANN401
) -> EventDetail:
    return EventDetail(
        id="evt_1",
        type=fields.pop("type", "order.created"),
        payload=msgspec.Raw(fields.pop("payload", b'{"n":1}')),
        status=status,
        received_at=Timestamp(MADE + 1),
        deliveries=deliveries,
        timeline=timeline,
        **fields,
    )


def explained(
    about: EventDetail, one: Subscription, *, now: int = NOW, in_flight: int = 0
) -> Explanation:
    (found,) = explain(about, about.received_at, [one], in_flight={one.id: in_flight}, now=now)
    return found


def test_one_that_gets_the_event_is_shown_with_its_delivery() -> None:
    assert explained(event(delivery()), subscription()) == Explanation(
        subscription_id="sub_1",
        matched=True,
        reason=Reason.MATCHED,
        detail="its delivery is pending",
        delivery_id="dlv_1",
        delivery_status=DeliveryStatus.PENDING,
        next_attempt_at=Timestamp(MADE + 5),
    )


@pytest.mark.parametrize(
    ("one", "reason", "detail"),
    [
        (subscription("sub_1", "invoice.*"), "type", "none of its patterns matches the type"),
        (
            subscription(created_at=MADE + 2),
            "created-later",
            "it was made after the event was received",
        ),
        (subscription(status=SubscriptionStatus.DISABLED), "disabled", "it is disabled"),
        (subscription(expires_at=Timestamp(NOW)), "expired", "it has expired"),
        (subscription(filter="payload.n > 1"), "filter", "its filter is false"),
        (
            subscription(filter="payload.m > 1"),
            "filter",
            "its filter has no answer: there is no field 'm'",
        ),
        # The first of several reasons, in the order in which routing asks.
        (
            subscription("sub_1", "a", filter="false"),
            "type",
            "none of its patterns matches the type",
        ),
        (
            subscription(status=SubscriptionStatus.DISABLED, filter="false"),
            "disabled",
            "it is disabled",
        ),
    ],
)
@pytest.mark.parametrize("status", EventStatus)
def test_one_that_does_not_get_the_event_is_told_why(
    one: Subscription, reason: str, detail: str, status: EventStatus
) -> None:
    found = explained(event(status=status), one)
    assert (found.matched, found.reason, found.detail) == (False, reason, detail)
    assert not found.changed_since
    assert found.delivery_id is None


def test_a_filter_is_told_part_by_part() -> None:
    one = subscription(filter='payload.n == 1 && payload.m > 5 && (type == "x" || key != null)')
    assert explained(event(), one).filter == (
        FilterPart("payload.n == 1", "true"),
        FilterPart("payload.m > 5", "failed", "there is no field 'm'"),
        FilterPart('(type == "x" || key != null)', "false"),
    )


def test_a_filter_that_was_not_asked_is_not_told() -> None:
    assert explained(event(), subscription("sub_1", "a", filter="true")).filter is None
    assert explained(event(), subscription()).filter is None


def test_filters_read_the_event_as_routing_does() -> None:
    one = subscription(filter='metadata.env == "prod" && source == "shop" && key == "c1"')
    about = event(metadata={"env": "prod"}, source="shop", key="c1", status=EventStatus.QUEUED)
    assert explained(about, one).matched


@pytest.mark.parametrize("status", [EventStatus.QUEUED, EventStatus.SCHEDULED, EventStatus.FAILED])
def test_an_event_that_is_not_routed_yet_would_be_delivered(status: EventStatus) -> None:
    found = explained(event(status=status), subscription())
    assert (found.matched, found.reason, found.changed_since) == (True, "matched", False)
    assert found.detail == f"would get it; the event is {status} and not routed"


def test_one_that_was_changed_since_and_would_get_the_event_now() -> None:
    found = explained(event(), subscription())
    assert (found.matched, found.changed_since, found.delivery_id) == (True, True, None)
    assert "has changed since" in found.detail


def test_a_delivery_on_file_wins_over_what_would_be_decided_now() -> None:
    got = event(delivery(status=DeliveryStatus.SUCCEEDED, next_attempt_at=None))
    found = explained(got, subscription(filter="payload.n > 1"))
    assert (found.matched, found.reason, found.changed_since) == (True, "matched", True)
    assert found.detail == (
        "its delivery is succeeded; it would not get the event now: its filter is false"
    )
    assert found.filter == (FilterPart("payload.n > 1", "false"),)


def test_a_replay_to_one_that_did_not_match_is_no_change() -> None:
    found = explained(event(delivery(origin=Origin.REPLAY)), subscription(filter="false"))
    assert (found.matched, found.changed_since) == (True, False)


def test_the_newest_delivery_is_told() -> None:
    both = event(delivery(name="dlv_2", origin=Origin.REPLAY), delivery(name="dlv_1"))
    assert explained(both, subscription()).delivery_id == "dlv_2"


@pytest.mark.parametrize(
    ("status", "reason"),
    [("pending", "paused"), ("retrying", "paused"), ("delivering", "paused"),
     ("succeeded", "matched"), ("dead", "matched")],
)  # fmt: skip
def test_what_waits_for_a_paused_subscription_says_so(status: str, reason: str) -> None:
    paused = subscription(status=SubscriptionStatus.PAUSED)
    found = explained(event(delivery(status=DeliveryStatus(status))), paused)
    assert (found.matched, found.reason) == (True, reason)
    assert explained(event(status=EventStatus.QUEUED), paused).reason == "paused"


@pytest.mark.parametrize(
    ("due_at", "in_flight", "reason"),
    [(NOW, 2, "limit"), (NOW, 1, "matched"), (NOW + 1, 2, "matched")],
)
def test_what_is_due_and_finds_its_subscription_busy_waits_for_the_limit(
    due_at: int, in_flight: int, reason: str
) -> None:
    waiting = event(delivery(next_attempt_at=Timestamp(due_at)))
    assert explained(waiting, subscription(max_concurrency=2), in_flight=in_flight).reason == reason
    assert explained(waiting, subscription(), in_flight=in_flight).reason == "matched"


def test_the_last_error_is_told_until_the_delivery_succeeds() -> None:
    attempts = tuple(
        Moment(at=MADE, what="attempt", delivery_id="dlv_1", subscription_id="sub_1", detail=detail)
        for detail in ("1: timeout", "2: 500")
    )
    failing = delivery(status=DeliveryStatus.RETRYING)
    assert explained(event(failing, timeline=attempts), subscription()).last_error == "500"
    well = delivery(status=DeliveryStatus.SUCCEEDED)
    assert explained(event(well, timeline=attempts), subscription()).last_error is None


subscriptions = st.lists(
    st.builds(
        subscription,
        st.just("sub_x"),
        st.sampled_from(["*", "order.*", "order.created", "invoice.*"]),
        filter=st.sampled_from(
            [None, "payload.n == 1", "payload.n == 2", "payload.m == 1", "key == null", "no filter"]
        ),
        status=st.sampled_from(SubscriptionStatus),
        created_at=st.integers(MADE, MADE + 2),
        expires_at=st.none() | st.integers(MADE, MADE + 2).map(Timestamp),
    ),
    min_size=4,
    max_size=8,
).map(
    lambda found: [msgspec.structs.replace(s, id=f"sub_{place}") for place, s in enumerate(found)]
)


@given(
    subscriptions,
    st.sampled_from(["order.created", "invoice.paid"]),
    st.sampled_from([b'{"n":1}', b'{"n":2}', b"1e400"]),
    st.integers(MADE, MADE + 2),
    st.integers(MADE, MADE + 2),
    st.sampled_from(EventStatus),
)
def test_what_is_explained_is_what_routing_decides(
    subscribed: list[Subscription],
    event_type: str,
    payload: bytes,
    received_at: int,
    now: int,
    status: EventStatus,
) -> None:
    view = EventView(event_type, payload=payload)
    routed = {s.id for s in route(view, received_at, subscribed, now=now)}
    about = event(type=event_type, payload=payload, status=status)
    found = explain(about, received_at, subscribed, in_flight={}, now=now)
    assert [each.subscription_id for each in found] == [s.id for s in subscribed]
    assert {each.subscription_id for each in found if each.matched} == routed
    assert all(
        (each.reason in {"matched", "paused"}) is each.matched and each.detail for each in found
    )
