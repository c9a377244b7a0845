"""Who may be sent now: no bound is ever exceeded, nobody starves, and nothing stands idle."""

from __future__ import annotations

import itertools
import random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers_api.deliver.lanes import Flight, Lanes
from triggers_api.model.outcome import Answered, NoAnswer
from triggers_api.model.subscription import Subscription, SubscriptionRecord, SubscriptionStatus
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import ClaimedDelivery

WELL: Final = Answered(204)
TIMEOUT: Final = NoAnswer("timeout")
_numbers = itertools.count()


def claimed(
    subscription: str = "sub_a",
    organization: str = "org_a",
    *,
    again: bool = False,
    url: str = "http://receiver.test/",
    most: int | None = None,
    rate: float | None = None,
) -> ClaimedDelivery:
    return ClaimedDelivery(
        id=f"dlv_{next(_numbers)}",
        token=1,
        event_id="evt_1",
        event_type="a",
        sent_at=Timestamp(0),
        payload=b"1",
        attempt_count=int(again),
        failures=int(again),
        target=SubscriptionRecord(
            organization_id=organization,
            subscription=Subscription(
                id=subscription,
                url=url,
                event_types=("*",),
                max_concurrency=most,
                rate_limit=rate,
                status=SubscriptionStatus.ACTIVE,
                created_at=Timestamp(0),
                updated_at=Timestamp(0),
            ),
            secrets=(),
        ),
    )


def take_all(lanes: Lanes, now: float) -> list[Flight]:
    """Everything that may be sent now."""
    flights = []
    while (flight := lanes.take(now)) is not None:
        flights.append(flight)
    return flights


def warm(lanes: Lanes, *names: str, organization: str = "org_a", now: float = 0.0) -> None:
    """Have each of these subscriptions take a good many, quickly."""
    for name in names:
        for _ in range(100):
            lanes.add(claimed(name, organization), now)
        serve(lanes, now)


def serve(lanes: Lanes, now: float) -> int:
    """Answer until nothing is left, a slot filled again as soon as it is free; how many there were."""
    flights = take_all(lanes, now)
    for served in itertools.count():
        if not flights:
            return served
        lanes.ended(flights.pop(0), WELL, now)
        flights += take_all(lanes, now)
    raise AssertionError


def names(flights: list[Flight]) -> list[str]:
    return [flight.delivery.target.subscription.id for flight in flights]


def test_an_unknown_endpoint_gets_two_at_once_and_more_as_it_shows_that_it_can() -> None:
    lanes = Lanes(50)
    for _ in range(60):
        lanes.add(claimed(), 0.0)
    flights, widest = take_all(lanes, 0.0), []
    for _ in range(5):
        widest.append(len(flights))
        for flight in tuple(flights):
            flights.remove(flight)
            lanes.ended(flight, WELL, 0.1)
            flights += take_all(lanes, 0.1)
    assert widest == [2, 4, 8, 16, 25]


def test_max_concurrency_is_kept_whatever_the_endpoint_can_take() -> None:
    lanes = Lanes(50)
    warm(lanes, "sub_a")
    for _ in range(20):
        lanes.add(claimed(most=3), 1.0)
    assert len(take_all(lanes, 1.0)) == 3


def test_ten_endpoints_that_hang_at_first_contact_leave_slots_and_are_put_aside_after_a_second() -> (
    None
):
    lanes = Lanes(50)
    warm(lanes, "sub_good")
    for n in range(10):
        for _ in range(2):
            lanes.add(claimed(f"sub_bad_{n}"), 0.0)
    hanging = take_all(lanes, 0.0)
    assert len(hanging) == 20
    for _ in range(50):
        lanes.add(claimed("sub_good"), 0.1)
    at_once = take_all(lanes, 0.1)
    assert names(at_once) == ["sub_good"] * 15, "half of what the others leave"
    assert lanes.wakes_at() == 1.0
    lanes.look(1.0)
    assert lanes.in_flight == (15, 20)
    for flight in at_once:
        lanes.ended(flight, WELL, 1.0)
    assert names(take_all(lanes, 1.0)) == ["sub_good"] * 25, "as if the others were not there"


def test_an_endpoint_that_is_slow_starts_aside_until_a_request_is_quick_again() -> None:
    lanes = Lanes(10)
    for _ in range(4):
        lanes.add(claimed(), 0.0)
    slow, other = take_all(lanes, 0.0)
    lanes.look(1.0)
    lanes.ended(slow, WELL, 2.0)
    lanes.add(claimed(), 2.0)
    (next_one, *_) = take_all(lanes, 2.0)
    assert lanes.in_flight[0] == 0
    lanes.ended(next_one, WELL, 2.5)
    lanes.ended(other, WELL, 2.5)
    lanes.add(claimed(), 2.5)
    take_all(lanes, 2.5)
    assert lanes.in_flight[0] > 0


def test_what_waits_for_an_endpoint_that_turns_slow_is_given_back() -> None:
    lanes = Lanes(50)
    warm(lanes, "sub_a")
    for _ in range(50):
        lanes.add(claimed(), 1.0)
    assert len(take_all(lanes, 1.0)) == 25
    lanes.look(2.0)
    given_back = lanes.returned()
    held = sum(lanes.in_flight) + lanes.rooms(2.0).subscriptions["sub_a"]
    assert 0 < len(given_back) <= 25
    assert held <= 50


def test_a_tenant_with_200_endpoints_that_hang_is_in_nobody_elses_way_after_a_second() -> None:
    lanes = Lanes(50)
    lanes.shared = True
    for n in range(200):
        lanes.add(claimed(f"sub_bad_{n}", "org_flood"), 0.0)
    assert len(take_all(lanes, 0.0)) > 25
    # However long they hang.
    for second in range(1, 30):
        lanes.look(float(second))
        lanes.add(claimed(f"sub_good_{second}", "org_good"), float(second))
        started = take_all(lanes, float(second))
        assert f"sub_good_{second}" in names(started)
        for flight in started:
            if flight.delivery.target.organization_id == "org_good":
                lanes.ended(flight, WELL, second + 0.1)


def test_a_tenant_alone_uses_every_slot() -> None:
    for shared in (False, True):
        lanes = Lanes(50)
        lanes.shared = shared
        warm(lanes, *(f"sub_{n}" for n in range(100)))
        for n in range(100):
            lanes.add(claimed(f"sub_{n}"), 0.0)
        assert len(take_all(lanes, 0.0)) == 50
        assert lanes.wanted == 100
        assert lanes.rooms(0.0).organizations == ({"org_a": 0} if shared else {})


def test_a_tenant_that_used_every_slot_keeps_half_of_them_when_all_of_it_begins_to_hang() -> None:
    lanes = Lanes(50)
    lanes.shared = True
    warm(lanes, *(f"sub_{n}" for n in range(100)))
    for n in range(100):
        lanes.add(claimed(f"sub_{n}"), 1.0)
    assert len(take_all(lanes, 1.0)) == 50
    lanes.add(claimed("sub_good", "org_good"), 1.1)
    assert take_all(lanes, 1.1) == []
    lanes.look(2.0)
    assert names(take_all(lanes, 2.0)) == ["sub_good"]
    assert lanes.in_flight == (26, 25)


def test_tenants_take_turns_however_many_endpoints_one_has() -> None:
    lanes = Lanes(10)
    lanes.shared = True
    for n in range(100):
        lanes.add(claimed(f"sub_{n}", "org_many"), 0.0)
    flights = take_all(lanes, 0.0)
    for _ in range(4):
        lanes.add(claimed("sub_few", "org_few"), 0.0)
    served = 0
    for _ in range(8):
        lanes.ended(flights.pop(0), WELL, 0.1)
        started = take_all(lanes, 0.1)
        served += names(started).count("sub_few")
        for flight in started:
            if flight.delivery.target.subscription.id == "sub_few":
                lanes.ended(flight, WELL, 0.1)
            else:
                flights.append(flight)
    assert served == 4


def test_half_of_a_window_is_for_first_attempts_and_half_for_the_rest() -> None:
    lanes = Lanes(50)
    warm(lanes, "sub_a")
    for _ in range(40):
        lanes.add(claimed(again=True), 1.0)
    for _ in range(40):
        lanes.add(claimed(), 1.0)
    flights = take_all(lanes, 1.0)
    assert len(flights) == 25
    again = sum(flight.delivery.attempt_count > 0 for flight in flights)
    assert again in {12, 13}


def test_retries_of_other_endpoints_leave_half_of_the_slots_to_first_attempts() -> None:
    lanes = Lanes(10)
    for n in range(20):
        lanes.add(claimed(f"sub_{n}", again=True), 0.0)
    lanes.add(claimed("sub_new"), 0.0)
    flights = take_all(lanes, 0.0)
    assert "sub_new" in names(flights)


def test_with_one_slot_first_attempts_and_retries_alternate() -> None:
    lanes = Lanes(1)
    for _ in range(4):
        lanes.add(claimed(again=True), 0.0)
        lanes.add(claimed(), 0.0)
    order = []
    for _ in range(8):
        (flight,) = take_all(lanes, 0.0)
        order.append(flight.delivery.attempt_count)
        lanes.ended(flight, WELL, 0.0)
    assert order in ([0, 1] * 4, [1, 0] * 4)


def test_retries_alone_use_the_whole_window() -> None:
    lanes = Lanes(50)
    warm(lanes, "sub_a")
    for _ in range(40):
        lanes.add(claimed(again=True), 1.0)
    assert len(take_all(lanes, 1.0)) == 25


def test_an_endpoint_gets_its_rate_and_others_do_not_wait_for_it() -> None:
    lanes = Lanes(50)
    sent: list[float] = []
    lanes.add(claimed(rate=5.0), 0.0)
    moment = 0.0
    while moment < 10:
        room = lanes.rooms(moment).subscriptions.get("sub_a", 2)
        for _ in range(room):
            lanes.add(claimed(rate=5.0), moment)
        assert lanes.returned() == [], "no more is claimed than can be sent soon"
        for flight in take_all(lanes, moment):
            sent.append(moment)
            lanes.ended(flight, WELL, moment)
        lanes.add(claimed("sub_free"), moment)
        (flight,) = take_all(lanes, moment)
        lanes.ended(flight, WELL, moment)
        moment = round(moment + 0.02, 3)
    assert 49 <= len(sent) <= 51


def test_what_would_wait_for_a_rate_for_long_is_given_back_each_to_its_own_time() -> None:
    lanes = Lanes(50)
    for _ in range(4):
        lanes.add(claimed(rate=0.1), 0.0)
    (flight,) = take_all(lanes, 0.0)
    lanes.ended(flight, WELL, 0.1)
    assert lanes.rooms(0.1).subscriptions["sub_a"] == 0
    given_back = lanes.returned()
    moments = [each.at or 0.0 for each in given_back]
    assert [each.why for each in given_back] == ["rate"] * 3
    assert moments == sorted(set(moments))
    assert lanes.wakes_at() == 10.0
    assert lanes.rooms(10.0).subscriptions["sub_a"] > 0


def test_subscriptions_of_one_host_share_its_rate() -> None:
    lanes = Lanes(50, host_rates={"zapier.test": 25.0})
    started = 0
    now = 0.0
    while now < 4.0:
        for n in range(20):
            free = lanes.rooms(now).subscriptions.get(f"sub_{n}", 1)
            for _ in range(min(free, 1)):
                lanes.add(claimed(f"sub_{n}", url=f"https://{n}.zapier.test/"), now)
        for flight in take_all(lanes, now):
            started += 1
            lanes.ended(flight, WELL, now)
        now += 0.005
    assert 98 <= started <= 101


def test_a_receiver_that_asks_for_time_gets_it_up_to_a_minute() -> None:
    for asked, waits in ((5.0, 5.0), (3600.0, 60.0)):
        lanes = Lanes(50)
        for _ in range(3):
            lanes.add(claimed(), 100.0)
        (first, second) = take_all(lanes, 100.0)
        lanes.ended(first, Answered(429, asked), 100.5)
        lanes.ended(second, WELL, 100.5)
        (given_back,) = lanes.returned()
        assert (given_back.why, given_back.at) == ("throttle", 100.5 + waits)
        assert lanes.rooms(100.6).subscriptions["sub_a"] == 0
        lanes.add(claimed(), 100.6)
        assert [each.why for each in lanes.returned()] == ["throttle"]
        assert lanes.wakes_at() == 100.5 + waits
        assert lanes.rooms(100.5 + waits).subscriptions["sub_a"] > 0


def test_an_endpoint_in_trouble_gets_half_as_much() -> None:
    lanes = Lanes(50)
    warm(lanes, "sub_a")
    for _ in range(60):
        lanes.add(claimed(), 1.0)
    flights = take_all(lanes, 1.0)
    for flight in flights:
        lanes.ended(flight, TIMEOUT, 1.5)
    window = len(take_all(lanes, 1.5))
    assert window < len(flights)


def test_a_thousand_idle_endpoints_cost_no_memory_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triggers_api.deliver.lanes.LANES_KEPT", 100)
    lanes = Lanes(50)
    for n in range(1000):
        lanes.add(claimed(f"sub_{n}", f"org_{n}", rate=1.0), float(n))
        for flight in take_all(lanes, float(n)):
            lanes.ended(flight, WELL, float(n))
    assert len(lanes._lanes) <= 101
    assert len(lanes._tenants) <= 101
    assert len(lanes._restricted) <= 101


@settings(max_examples=60)
@given(
    slots=st.integers(1, 12),
    shared=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_whatever_happens_no_bound_is_exceeded_and_nothing_is_lost(
    *, slots: int, shared: bool, seed: int
) -> None:
    rng = random.Random(seed)
    lanes = Lanes(slots, host_rates={"limited.test": 3.0})
    lanes.shared = shared
    now, flights, known = 0.0, list[Flight](), 0
    added = back = ended = 0
    for _ in range(150):
        step = rng.random()
        now = round(now + rng.choice((0.0, 0.01, 0.3, 1.1)), 3)
        if step < 0.4:
            rooms = lanes.rooms(now)
            for _ in range(min(lanes.wanted, 4)):
                n = rng.randrange(6)
                known += 1
                if rooms.subscriptions.get(f"sub_{n}", 1) > 0:
                    host = "limited" if n == 5 else "free"
                    limits = {"most": 2} if n == 4 else {"rate": 2.0} if n == 3 else {}
                    lanes.add(
                        claimed(
                            f"sub_{n}", f"org_{n % 2}", again=rng.random() < 0.5,
                            url=f"http://{host}.test/", **limits,
                        ),
                        now,
                    )  # fmt: skip
                    added += 1
        elif step < 0.7 and flights:
            flight = flights.pop(rng.randrange(len(flights)))
            lanes.ended(flight, rng.choice((WELL, TIMEOUT, Answered(503, 2.0), None)), now)
            ended += 1
        elif step < 0.8:
            lanes.look(now)
        flights += take_all(lanes, now)
        back += len(lanes.returned())
        fast, slow = lanes.in_flight
        assert fast <= slots
        assert slow <= slots
        assert fast + slow == len(flights)
        assert lanes.wanted >= 0
        assert names(flights).count("sub_4") <= 2
    left = len(lanes.take_all())
    assert added == back + ended + left + len(flights)
    for flight in flights:
        lanes.ended(flight, WELL, now)
    assert lanes.in_flight == (0, 0)
    assert lanes.wanted == 2 * slots


@settings(max_examples=40)
@given(slots=st.integers(1, 12), shared=st.booleans(), seed=st.integers(0, 2**32))
def test_while_receivers_answer_everything_that_came_is_sent(
    *, slots: int, shared: bool, seed: int
) -> None:
    rng = random.Random(seed)
    lanes = Lanes(slots)
    lanes.shared = shared
    for _ in range(40):
        lanes.add(
            claimed(f"sub_{rng.randrange(5)}", f"org_{rng.randrange(2)}", again=rng.random() < 0.5),
            0.0,
        )
    sent = 0
    while flights := take_all(lanes, 0.0):
        sent += len(flights)
        for flight in flights:
            lanes.ended(flight, WELL, 0.0)
    assert sent == 40
