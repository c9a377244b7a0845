"""What settlements say of endpoints: breakers, warnings, the end, and the way back."""

from collections.abc import Sequence

import msgspec
import pytest
from tests.contract.conftest import World

from triggers_api.model.health import EndpointHealth
from triggers_api.model.subscription import SubscriptionRecord, SubscriptionStatus
from triggers_api.store.base import ClaimedDelivery, HealthReset, ProbeClaim, Settled

DAY_S = 86_400.0
URL = "https://example.com/hook"


class Endpoint:
    """A subscription's endpoint that answers as told."""

    def __init__(self, world: World, organization: str, subscription: str) -> None:
        self.world = world
        self.organization = organization
        self.subscription = subscription

    @property
    def health(self) -> EndpointHealth | None:
        known = self.world.run(
            self.world.store.endpoint_health(self.organization, [self.subscription])
        )
        return known.get(self.subscription)

    @property
    def known(self) -> EndpointHealth:
        assert self.health is not None
        return self.health

    @property
    def state(self) -> str:
        return self.known.state(self.world.clock()).value

    @property
    def record(self) -> SubscriptionRecord:
        found = self.world.run(self.world.store.subscription(self.organization, self.subscription))
        assert found is not None
        return found

    def claimed(self, count: int) -> Sequence[ClaimedDelivery]:
        self.world.due(self.organization, self.subscription, count)
        return self.world.claim_deliveries(room={self.subscription: count}).deliveries

    def sees(self, *results: str | None, sent_to: str | None = URL) -> Settled:
        """An attempt that ended so each, in one settlement; what fails is dead."""
        claimed = self.claimed(len(results))
        assert len(claimed) == len(results)
        return self.world.settled(
            *[
                self.world.outcome(each, "succeeded", sent_to=sent_to)
                if error is None
                else self.world.outcome(
                    each, "dead", status_code=None, error=error, sent_to=sent_to
                )
                for each, error in zip(claimed, results, strict=True)
            ]
        )

    def fails(self, times: int = 1) -> list[str]:
        return [each.event.value for each in self.sees(*["timeout"] * times).changes]

    def is_disabled(self) -> None:
        """Five days of nothing but failure."""
        assert self.fails(10) == ["opened"]
        for _ in range(2):
            self.world.clock.advance(seconds=2.5 * DAY_S)
            turned = self.fails()
        assert turned == ["disabled"]

    def probes(self) -> Sequence[ProbeClaim]:
        return self.world.run(self.world.store.claim_probes(10, 60.0))

    def probed(self, probe: ProbeClaim, error: str | None = None) -> bool:
        return self.world.run(self.world.store.settle_probe(probe, error)) is not False


@pytest.fixture
def endpoint(world: World, organization: str, subscription: str) -> Endpoint:
    return Endpoint(world, organization, subscription)


def test_nothing_is_on_file_of_an_endpoint_that_works(endpoint: Endpoint) -> None:
    assert endpoint.sees(None, None) == Settled()
    assert endpoint.health is None


def test_ten_failures_in_a_row_open_the_breaker_and_settle_says_so(endpoint: Endpoint) -> None:
    assert endpoint.fails(9) == []
    assert endpoint.state == "closed"
    settled = endpoint.sees("dns")
    assert [each.event.value for each in settled.changes] == ["opened"]
    assert settled.closed_to == {endpoint.subscription}
    assert endpoint.state == "open"
    assert (endpoint.known.failures, endpoint.known.error) == (10, "dns")


def test_whoever_settles_for_an_open_one_is_told_that_it_is_open(endpoint: Endpoint) -> None:
    held = endpoint.claimed(1)
    endpoint.fails(10)
    endpoint.world.clock.advance(seconds=1)
    settled = endpoint.world.settled(
        *[endpoint.world.outcome(each, "dead", error="timeout") for each in held]
    )
    assert settled.closed_to == {endpoint.subscription}
    assert settled.changes == ()


def test_a_success_takes_away_what_was_known(endpoint: Endpoint) -> None:
    endpoint.fails(10)
    endpoint.world.clock.advance(seconds=10)
    settled = endpoint.sees(None)
    assert [each.event.value for each in settled.changes] == ["recovered"]
    assert settled.closed_to == frozenset()
    assert endpoint.health is None


def test_the_settlements_of_one_call_count_in_their_order(endpoint: Endpoint) -> None:
    endpoint.sees(*["timeout"] * 9, None, "dns")
    assert endpoint.known.failures == 1


def test_a_failed_probe_opens_the_breaker_for_longer(endpoint: Endpoint) -> None:
    endpoint.fails(10)
    first = endpoint.known.open_until - endpoint.world.clock()
    endpoint.world.clock.advance(seconds=10)
    assert endpoint.state == "half-open"
    endpoint.fails()
    assert endpoint.known.opened == 2
    assert endpoint.known.open_until - endpoint.world.clock() > first


def test_a_stale_settlement_says_nothing(endpoint: Endpoint) -> None:
    (late,) = endpoint.claimed(1)
    endpoint.world.settle(endpoint.world.outcome(late))
    endpoint.world.settle(endpoint.world.outcome(late, "dead", error="timeout"))
    assert endpoint.health is None


def test_what_is_given_back_says_nothing(endpoint: Endpoint) -> None:
    endpoint.fails(3)
    (back,) = endpoint.claimed(1)
    endpoint.world.settle(endpoint.world.outcome(back, "pending", attempted=False))
    assert endpoint.known.failures == 3


def test_an_attempt_at_another_url_says_nothing_of_this_one(endpoint: Endpoint) -> None:
    endpoint.sees(*["timeout"] * 10, sent_to="https://example.com/before")
    assert endpoint.health is None


def test_one_organization_is_told_nothing_of_anothers_endpoint(endpoint: Endpoint) -> None:
    endpoint.fails(10)
    other = endpoint.world.organization()
    store = endpoint.world.store
    assert endpoint.world.run(store.endpoint_health(other, [endpoint.subscription])) == {}
    assert endpoint.world.run(store.endpoint_health(endpoint.organization, [])) == {}
    assert endpoint.world.run(store.endpoint_health(endpoint.organization, ["sub_x"])) == {}


def test_each_subscription_has_a_health_of_its_own(endpoint: Endpoint) -> None:
    other = endpoint.world.subscription(endpoint.organization)
    endpoint.fails(10)
    beside = Endpoint(endpoint.world, endpoint.organization, other)
    assert beside.health is None
    beside.fails(2)
    assert (beside.known.failures, endpoint.known.failures) == (2, 10)


def test_open_breakers_are_counted(endpoint: Endpoint) -> None:
    endpoint.fails(10)
    assert endpoint.world.run(endpoint.world.store.stats()).breakers_open == 1


def test_after_days_of_failure_there_is_a_warning_then_the_subscription_is_disabled(
    endpoint: Endpoint,
) -> None:
    world = endpoint.world
    since = world.clock()
    endpoint.fails(10)
    world.clock.advance(seconds=2.5 * DAY_S)
    assert endpoint.fails() == ["failing"]
    assert endpoint.record.subscription.status is SubscriptionStatus.ACTIVE
    world.clock.advance(seconds=2.5 * DAY_S)
    waiting = world.due(endpoint.organization, endpoint.subscription, 3)
    (claimed, *_) = world.claim_deliveries(1, room={endpoint.subscription: 1}).deliveries
    settled = world.settled(world.outcome(claimed, "retrying", error="dns", retry_in_s=60))
    assert [each.event.value for each in settled.changes] == ["disabled"]
    subscription = endpoint.record.subscription
    assert subscription.status is SubscriptionStatus.DISABLED
    assert subscription.disabled_reason == f"failing since {since}: dns"
    assert {world.status_of(endpoint.organization, each) for each in waiting} == {"cancelled"}
    world.assert_balanced()


def test_a_disabled_one_is_probed_after_a_day_by_one_process_at_a_time(
    endpoint: Endpoint,
) -> None:
    endpoint.is_disabled()
    endpoint.world.clock.advance(seconds=DAY_S - 1)
    assert endpoint.probes() == []
    endpoint.world.clock.advance(seconds=1)
    (probe,) = endpoint.probes()
    assert probe.target.subscription.id == endpoint.subscription
    assert endpoint.probes() == []


def test_a_probe_that_succeeds_brings_the_subscription_back(endpoint: Endpoint) -> None:
    endpoint.is_disabled()
    endpoint.world.clock.advance(seconds=DAY_S)
    (probe,) = endpoint.probes()
    assert endpoint.probed(probe)
    subscription = endpoint.record.subscription
    assert (subscription.status, subscription.enabled) == (SubscriptionStatus.ACTIVE, True)
    assert subscription.disabled_reason is None
    assert endpoint.health is None
    assert endpoint.sees(None) == Settled()


def test_a_probe_that_fails_is_made_again_a_day_later(endpoint: Endpoint) -> None:
    endpoint.is_disabled()
    endpoint.world.clock.advance(seconds=DAY_S)
    (probe,) = endpoint.probes()
    assert endpoint.probed(probe, "tls")
    assert endpoint.known.error == "tls"
    assert endpoint.record.subscription.status is SubscriptionStatus.DISABLED
    assert endpoint.probes() == []
    endpoint.world.clock.advance(seconds=DAY_S)
    assert len(endpoint.probes()) == 1


@pytest.mark.parametrize("error", [None, "receiver answered 410"])
def test_a_receiver_that_wants_nothing_more_says_so_to_a_probe_for_good(
    endpoint: Endpoint, error: str | None
) -> None:
    endpoint.is_disabled()
    endpoint.world.clock.advance(seconds=DAY_S)
    (probe,) = endpoint.probes()
    store = endpoint.world.store
    assert endpoint.world.run(store.settle_probe(probe, error, ended="gone", notify=True)) is True
    subscription = endpoint.record.subscription
    assert (subscription.status, subscription.enabled) == (SubscriptionStatus.DISABLED, False)
    assert (subscription.disabled_reason, endpoint.health) == ("gone", None)
    endpoint.world.clock.advance(seconds=10 * DAY_S)
    assert endpoint.probes() == []
    assert endpoint.world.run(store.settle_probe(probe, None)) is False


def test_a_probe_whose_lease_ran_out_changes_nothing(endpoint: Endpoint) -> None:
    endpoint.is_disabled()
    endpoint.world.clock.advance(seconds=DAY_S)
    (late,) = endpoint.probes()
    endpoint.world.clock.advance(seconds=60)
    assert not endpoint.probed(late)
    (present,) = endpoint.probes()
    assert not endpoint.probed(late)
    assert endpoint.record.subscription.status is SubscriptionStatus.DISABLED
    assert endpoint.probed(present)
    assert not endpoint.probed(present)


def test_a_probe_of_one_that_was_resumed_meanwhile_changes_nothing(endpoint: Endpoint) -> None:
    endpoint.is_disabled()
    endpoint.world.clock.advance(seconds=DAY_S)
    (probe,) = endpoint.probes()
    endpoint.world.run(
        endpoint.world.store.save_subscription(probe.target, health=HealthReset.FORGET)
    )
    assert not endpoint.probed(probe)


def test_who_was_disabled_for_another_reason_is_not_probed(endpoint: Endpoint) -> None:
    endpoint.fails(10)
    endpoint.world.clock.advance(seconds=10)
    (claimed,) = endpoint.claimed(1)
    endpoint.world.settle(
        endpoint.world.outcome(claimed, "cancelled", status_code=410, disable_subscription="gone")
    )
    assert endpoint.health is None
    endpoint.world.clock.advance(seconds=10 * DAY_S)
    assert endpoint.probes() == []


def test_a_deleted_one_is_not_probed_and_leaves_nothing(endpoint: Endpoint) -> None:
    endpoint.is_disabled()
    endpoint.world.clock.advance(seconds=DAY_S)
    store = endpoint.world.store
    endpoint.world.run(store.delete_subscription(endpoint.organization, endpoint.subscription))
    assert endpoint.probes() == []
    assert endpoint.health is None


def test_another_url_or_a_resume_forgets_what_was_known(endpoint: Endpoint) -> None:
    endpoint.fails(10)
    store = endpoint.world.store
    endpoint.world.run(store.save_subscription(endpoint.record))
    assert endpoint.known.failures == 10
    endpoint.world.run(store.save_subscription(endpoint.record, health=HealthReset.FORGET))
    assert endpoint.health is None


def test_a_disabled_one_with_another_url_is_probed_at_once(endpoint: Endpoint) -> None:
    endpoint.is_disabled()
    store = endpoint.world.store
    endpoint.world.run(store.save_subscription(endpoint.record, health=HealthReset.PROBE))
    assert len(endpoint.probes()) == 1


def test_a_410_from_a_url_that_was_changed_meanwhile_disables_nothing_and_is_sent_again(
    endpoint: Endpoint,
) -> None:
    world = endpoint.world
    (claimed,) = endpoint.claimed(1)
    moved = msgspec.structs.replace(
        endpoint.record,
        subscription=msgspec.structs.replace(
            endpoint.record.subscription, url="https://example.com/now"
        ),
    )
    world.run(world.store.save_subscription(moved))
    settlement = world.outcome(
        claimed, "cancelled", status_code=410, disable_subscription="gone", sent_to=URL
    )
    assert world.settled(settlement) == Settled()
    assert endpoint.record.subscription.status is SubscriptionStatus.ACTIVE
    again = world.claimed()
    assert (again.id, again.attempt_count) == (claimed.id, 1)
    assert again.target.subscription.url == "https://example.com/now"


def test_a_success_that_disables_a_url_that_was_changed_meanwhile_stays_a_success(
    endpoint: Endpoint,
) -> None:
    world = endpoint.world
    (claimed,) = endpoint.claimed(1)
    world.settle(
        world.outcome(claimed, disable_subscription="asked", sent_to="https://example.com/before")
    )
    assert endpoint.record.subscription.status is SubscriptionStatus.ACTIVE
    assert world.status_of(endpoint.organization, claimed.id) == "succeeded"


def test_a_410_from_the_present_url_disables(endpoint: Endpoint) -> None:
    world = endpoint.world
    (claimed,) = endpoint.claimed(1)
    world.settle(
        world.outcome(
            claimed, "cancelled", status_code=410, disable_subscription="gone", sent_to=URL
        )
    )
    assert endpoint.record.subscription.disabled_reason == "gone"


def test_what_is_known_survives_a_crash(endpoint: Endpoint) -> None:
    endpoint.fails(10)
    before = endpoint.known
    endpoint.world.run(endpoint.world.engine.crash())
    assert endpoint.known == before


def test_an_organization_that_asked_is_told_of_every_turn(endpoint: Endpoint) -> None:
    world = endpoint.world

    def fails(times: int) -> None:
        world.settle(
            *[
                msgspec.structs.replace(
                    world.outcome(each, "dead", status_code=None, error="timeout"), notify=True
                )
                for each in endpoint.claimed(times)
            ]
        )

    since = world.clock()
    fails(10)
    for _ in range(2):
        world.clock.advance(seconds=2.5 * DAY_S)
        fails(1)
    world.clock.advance(seconds=DAY_S)
    (probe,) = endpoint.probes()
    world.run(world.store.settle_probe(probe, None, notify=True))
    told = [each.notice for each in world.run(world.store.notices(10))]
    assert [each.type.value for each in told] == [
        "subscription.breaker-opened",
        "subscription.failing",
        "subscription.disabled",
        "subscription.recovered",
    ]
    assert {each.subscription_id for each in told} == {endpoint.subscription}
    assert told[1].disable_at == since.after(seconds=5 * DAY_S)
    assert told[2].reason == f"failing since {since}: timeout"


def test_nobody_is_told_who_did_not_ask(endpoint: Endpoint) -> None:
    endpoint.is_disabled()
    assert endpoint.world.run(endpoint.world.store.notices(10)) == []
