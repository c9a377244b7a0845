"""What a dispatcher has in hand: claimed deliveries, waiting or being sent, by tenant and subscription.

A subscription has a lane. A request has a slot in one of two pools of the same size: it starts in the
fast one, and once it has been under way for a second it is moved to the slow one with all of its lane.
So what hangs is in nobody's way for longer than that.
"""

from collections import deque
from collections.abc import Mapping
from itertools import chain, islice
from typing import Final
from urllib.parse import urlsplit

import msgspec

from triggers_api.model.outcome import Answered, NoAnswer, asks_to_wait_s, is_success, is_trouble
from triggers_api.model.pace import (
    FIRST_WINDOW,
    LONGEST_THROTTLE_S,
    SLOW_S,
    SOON_S,
    Gate,
    Window,
    fair_room,
    rate_of_host,
    room,
)
from triggers_api.model.subscription import Subscription
from triggers_api.store.base import ClaimedDelivery, Rooms

LANES_KEPT: Final = 10_000
"""Subscriptions of which is remembered how much they can take."""

_WARM: Final = 100
_HELD_S: Final = 5.0
_HELD_UNPROVEN_S: Final = 1.0
_AGAIN_S: Final = 1.0


class Returned(msgspec.Struct, frozen=True, gc=False):
    """A delivery to be given back.

    Attributes:
        why: what it would have had to wait for: ``rate``, ``throttle`` or ``slots``.
        at: when it may be claimed again; ``None``: now.
    """

    delivery: ClaimedDelivery
    why: str
    at: float | None = None


class _Pool:
    __slots__ = ("again", "total")

    def __init__(self) -> None:
        self.total = 0
        self.again = 0


class _Tenant:
    __slots__ = ("doubtful", "fast", "id", "lanes", "slow", "waiting", "waiting_count")

    def __init__(self, organization_id: str) -> None:
        self.id = organization_id
        self.lanes = 0
        self.waiting: dict[_Lane, None] = {}
        self.waiting_count = 0
        self.fast = 0
        self.slow = 0
        self.doubtful = 0
        """Of ``fast``: those of lanes that have not been fast yet."""

    @property
    def held(self) -> int:
        return self.waiting_count + self.fast


class _Lane:
    __slots__ = (
        "again", "agains_turn", "closed_until", "fast", "first", "flights", "gates", "host", "id",
        "limit", "most", "no_room_until", "proven", "rate", "sending_again", "slow", "tenant", "url",
        "window",
    )  # fmt: skip

    def __init__(self, subscription_id: str, tenant: _Tenant) -> None:
        self.id = subscription_id
        self.tenant = tenant
        self.window = Window()
        self.limit: int | None = None
        self.most = self.window.size
        """Requests at once."""
        self.first: deque[tuple[ClaimedDelivery, float]] = deque()
        self.again: deque[tuple[ClaimedDelivery, float]] = deque()
        self.agains_turn = False
        self.flights: dict[Flight, None] = {}
        self.fast = 0
        self.sending_again = 0
        self.slow = False
        self.proven = False
        """Whether its last word is a success in less than a second."""
        self.closed_until = 0.0
        self.no_room_until = 0.0
        self.url = ""
        self.host: Gate | None = None
        self.rate: Gate | None = None
        self.gates: tuple[Gate, ...] = ()

    @property
    def waiting(self) -> int:
        return len(self.first) + len(self.again)

    @property
    def held(self) -> int:
        return len(self.first) + len(self.again) + len(self.flights)

    def resize(self) -> None:
        size = self.window.size
        self.most = size if self.limit is None else min(size, self.limit)

    def opens_at(self) -> float:
        return max(self.closed_until, *(gate.opens_at() for gate in self.gates), 0.0)

    def has_room_at(self, now: float) -> float:
        """When one that comes then need not wait for long."""
        reached = max((gate.reached_at(now) for gate in self.gates), default=0.0)
        return max(self.closed_until, self.no_room_until, reached - SOON_S)


class Flight:
    """A delivery that is being sent."""

    __slots__ = ("delivery", "is_again", "is_slow", "lane", "started_at")

    def __init__(self, delivery: ClaimedDelivery, lane: _Lane, now: float) -> None:
        self.delivery = delivery
        self.lane = lane
        self.started_at = now
        self.is_again = _is_again(delivery)
        self.is_slow = lane.slow


class Lanes:
    """Claimed deliveries in order, and what of them is being sent.

    More are claimed than can be sent at once, so that sending goes on while the store commits. Tenants
    take turns, and within each its lanes. Moments are seconds on one clock that never goes back.
    """

    def __init__(self, slots: int, *, host_rates: Mapping[str, float] | None = None) -> None:
        """So many slots in each pool; ``host_rates`` are requests a second by host or domain."""
        self._slots = slots
        self._rates = dict(host_rates or {})
        self._hosts = {name: Gate(rate) for name, rate in self._rates.items()}
        self._lanes: dict[str, _Lane] = {}
        self._tenants: dict[str, _Tenant] = {}
        self._busy: dict[_Lane, None] = {}
        self._round: dict[_Tenant, None] = {}
        self._restricted: dict[_Lane, None] = {}
        self._fast = _Pool()
        self._slow = _Pool()
        self._young: dict[Flight, None] = {}
        self._stuck: dict[Flight, None] = {}
        self._may_move = False
        self._waiting = 0
        self._first_waiting = 0
        self._slow_waiting = 0
        """Lanes with something waiting that are slow."""
        self._opens_at: float | None = None
        self._reopens_at: float | None = None
        self._returned: list[Returned] = []
        self.shared = False
        """Whether there is more than one tenant; none then takes everything for long."""

    @property
    def in_flight(self) -> tuple[int, int]:
        """Requests under way, in the fast pool and in the slow one."""
        return self._fast.total, self._slow.total

    @property
    def slow_lanes(self) -> int:
        """Lanes with something in hand that are slow."""
        return sum(lane.slow for lane in self._busy)

    # ── what to claim ─────────────────────────────────────────────────────────────────────────

    @property
    def wanted(self) -> int:
        """How many more to claim."""
        return max(0, min(2 * self._slots, self._in_hand - self._waiting - self._fast.total))

    @property
    def _in_hand(self) -> int:
        return 4 * self._slots

    @property
    def is_stocked(self) -> bool:
        """Whether what waits is enough to go on with for a while."""
        return 2 * self._waiting >= self._slots

    def rooms(self, now: float) -> Rooms:
        """How many more to claim of each lane and tenant with something in hand, and of the others."""
        self._forget_restrictions(now)
        slow_left = self._slots - self._slow.total
        slow_left -= sum(lane.waiting for lane in self._busy if lane.slow)
        subscriptions: dict[str, int] = {}
        for lane in chain(
            self._busy, self._restricted, islice(reversed(self._lanes.values()), _WARM)
        ):
            if lane.id in subscriptions:
                continue
            free = self._lane_room(lane, now)
            if lane.slow:
                free = max(0, min(free, slow_left))
                slow_left -= free
            subscriptions[lane.id] = free
        if not self.shared:
            return msgspec.structs.replace(
                any_room(self.wanted),
                subscriptions=subscriptions,
                default_subscription=FIRST_WINDOW,
            )
        slots, held = self._in_hand, self._waiting + self._fast.total
        return Rooms(
            subscriptions=subscriptions,
            default_subscription=FIRST_WINDOW,
            organizations={
                tenant.id: room(slots, held - tenant.held, tenant.held)
                for tenant in {lane.tenant: None for lane in self._busy}
            },
            default_organization=room(slots, held, 0),
        )

    def _lane_room(self, lane: _Lane, now: float) -> int:
        if lane.no_room_until > now or lane.closed_until > now:
            return 0
        free = lane.most - lane.held
        if lane.slow:
            own = len(lane.flights) - lane.fast
            free = min(free, room(self._slots, self._slow.total - own, own + lane.waiting))
        elif lane.proven:
            own = lane.fast + lane.waiting
            free = min(free + 3 * lane.most, room(self._in_hand, lane.tenant.held - own, own))
        for gate in lane.gates:
            free = min(free, gate.room(now))
        return max(0, free)

    def _forget_restrictions(self, now: float) -> None:
        self._reopens_at = None
        for lane in tuple(self._restricted):
            at = lane.has_room_at(now)
            if at <= now:
                del self._restricted[lane]
            elif self._reopens_at is None or at < self._reopens_at:
                self._reopens_at = at

    # ── coming and going ──────────────────────────────────────────────────────────────────────

    def add(self, delivery: ClaimedDelivery, now: float) -> None:
        """Put a claimed delivery at the end of its lane, or among those to be given back."""
        lane = self._lane(delivery)
        if lane.closed_until > now + SOON_S:
            self._returned.append(Returned(delivery, "throttle", lane.closed_until))
            return
        for gate in lane.gates:
            if gate.reached_at(now) > now + SOON_S:
                at = gate.put_off(now)
                if lane.no_room_until <= now:
                    lane.no_room_until = at
                self._restricted[lane] = None
                self._returned.append(Returned(delivery, "rate", at))
                return
        (lane.again if _is_again(delivery) else lane.first).append((delivery, now))
        self._count_waiting(lane, delivery, 1)
        tenant = lane.tenant
        tenant.waiting[lane] = None
        self._round[tenant] = None
        self._busy[lane] = None

    def take(self, now: float) -> Flight | None:
        """The next delivery that may be sent now, which is under way from here on."""
        if self._may_move:
            self._move()
        self._opens_at = None
        slots, fast, slow = self._slots, self._fast.total, self._slow.total
        if fast >= slots and (slow >= slots or not self._slow_waiting):
            return None
        for tenant in self._round:
            if self.shared:
                aside = room(slots, slow - tenant.slow, tenant.slow)
                others = fast - tenant.fast
                fast_left = fair_room(slots, others, tenant.fast, aside=aside)
                half = (room(slots, others, 0) + 1) // 2
            else:
                aside, fast_left, half = slots - slow, slots - fast, (slots + 1) // 2
            doubtful_left = half + aside - tenant.doubtful
            for lane in tenant.waiting:
                if len(lane.flights) >= lane.most:
                    continue
                if lane.slow:
                    own = len(lane.flights) - lane.fast
                    free = aside > 0 and room(slots, slow - own, own) > 0
                else:
                    free = (
                        fast_left > 0
                        and (lane.proven or doubtful_left > 0)
                        and room(slots, fast - lane.fast, lane.fast) > 0
                    )
                if free and (line := self._line(lane, now)) is not None:
                    return self._launch(lane, line, now)
        return None

    def take_all(self) -> list[ClaimedDelivery]:
        """Everything that waits, out of its lanes."""
        return [
            delivery
            for lane in tuple(self._busy)
            for line in (lane.first, lane.again)
            for delivery in self._drop(lane, line, len(line))
        ]

    def take_lane(self, subscription_id: str) -> list[ClaimedDelivery]:
        """Everything that waits for one subscription, out of its lane."""
        lane = self._lanes.get(subscription_id)
        if lane is None:
            return []
        return [
            delivery
            for line in (lane.first, lane.again)
            for delivery in self._drop(lane, line, len(line))
        ]

    def returned(self) -> list[Returned]:
        """What is to be given back since the last call."""
        returned, self._returned = self._returned, []
        return returned

    def ended(self, flight: Flight, outcome: Answered | NoAnswer | None, now: float) -> None:
        """Take note that a delivery is out of hand; ``None``: it was not sent after all."""
        lane = flight.lane
        in_flight = len(lane.flights)
        self._count(flight, -1)
        del lane.flights[flight]
        self._young.pop(flight, None)
        self._stuck.pop(flight, None)
        self._may_move = self._may_move or (flight.is_slow and bool(self._stuck))
        if outcome is not None:
            self._learn(flight, outcome, in_flight, now)
        if not lane.held:
            self._busy.pop(lane, None)

    def look(self, now: float) -> None:
        """Put aside what has become slow, and give back what has waited for too long."""
        if self._reopens_at is not None and self._reopens_at <= now:
            self._reopens_at = None
        for flight in tuple(self._young):
            if flight.started_at + SLOW_S > now:
                break
            if flight in self._young:
                self._turn_slow(flight.lane)
        for lane in tuple(self._busy):
            may_wait = lane.proven or lane.slow or lane.gates
            longest = _HELD_S if may_wait else _HELD_UNPROVEN_S
            since = min((line[0][1] for line in (lane.first, lane.again) if line), default=now)
            if since + longest <= now:
                self._return_waiting(lane, "slots", None)
                lane.no_room_until = max(lane.no_room_until, now + _AGAIN_S)
                self._restricted[lane] = None

    def wakes_at(self) -> float | None:
        """When to :meth:`look` and :meth:`take` again if nothing else happens before."""
        soonest = self._opens_at
        if self._reopens_at is not None and (soonest is None or self._reopens_at < soonest):
            soonest = self._reopens_at
        for flight in self._young:
            old_at = flight.started_at + SLOW_S
            if soonest is None or old_at < soonest:
                soonest = old_at
            break
        return soonest

    # ── which one ─────────────────────────────────────────────────────────────────────────────

    def _line(self, lane: _Lane, now: float) -> deque[tuple[ClaimedDelivery, float]] | None:
        """The line of a lane whose turn it is, if it may go now."""
        if lane.gates or lane.closed_until > now:
            at = lane.opens_at()
            if at > now:
                self._opens_at = at if self._opens_at is None else min(self._opens_at, at)
                return None
        if not lane.again:
            return lane.first
        pool = self._slow if lane.slow else self._fast
        # Half of the slots are for first attempts, as long as there are any.
        if self._first_waiting and pool.again >= (self._slots + 1) // 2:
            return lane.first or None
        if not lane.first:
            return lane.again
        return (
            lane.again
            if lane.agains_turn and lane.sending_again < max(1, lane.most // 2)
            else lane.first
        )

    def _launch(
        self, lane: _Lane, line: deque[tuple[ClaimedDelivery, float]], now: float
    ) -> Flight:
        lane.agains_turn = line is lane.first
        delivery, _ = line.popleft()
        self._count_waiting(lane, delivery, -1)
        # To the end of the round, so that tenants and lanes take turns.
        tenant = lane.tenant
        if lane in tenant.waiting:
            del tenant.waiting[lane]
            tenant.waiting[lane] = None
        if tenant in self._round:
            del self._round[tenant]
            self._round[tenant] = None
        for gate in lane.gates:
            gate.pass_through(now)
            self._restricted[lane] = None
        flight = Flight(delivery, lane, now)
        lane.flights[flight] = None
        self._count(flight, 1)
        if not flight.is_slow:
            self._young[flight] = None
        return flight

    # ── what is learned ───────────────────────────────────────────────────────────────────────

    def _learn(
        self, flight: Flight, outcome: Answered | NoAnswer, in_flight: int, now: float
    ) -> None:
        lane = flight.lane
        if is_success(outcome):
            lane.window.succeeded(in_flight)
            if now - flight.started_at < SLOW_S:
                self._judge(lane, slow=False)
        elif is_trouble(outcome):
            lane.window.failed(started_at=flight.started_at, now=now)
        lane.resize()
        asked_s = asks_to_wait_s(outcome)
        if asked_s is not None:
            lane.closed_until = max(lane.closed_until, now + min(asked_s, LONGEST_THROTTLE_S))
            self._restricted[lane] = None
            if lane.closed_until > now + SOON_S:
                self._return_waiting(lane, "throttle", lane.closed_until)

    def _turn_slow(self, lane: _Lane) -> None:
        self._judge(lane, slow=True)
        for flight in lane.flights:
            self._young.pop(flight, None)
            if not flight.is_slow:
                self._stuck[flight] = None
        self._move()
        # Not more than can be sent soon; the first to come are the first to be looked at again.
        for line in (lane.again, lane.first):
            excess = min(len(line), max(0, lane.held - lane.most))
            self._returned += [Returned(each, "slots") for each in self._drop(lane, line, excess)]

    def _judge(self, lane: _Lane, *, slow: bool) -> None:
        if lane.slow is not slow:
            lane.slow = slow
            if lane.waiting:
                self._slow_waiting += 1 if slow else -1
        if lane.proven is slow:
            lane.proven = not slow
            lane.tenant.doubtful += lane.fast if slow else -lane.fast

    def _move(self) -> None:
        """Put slow requests aside, as many as there is room for."""
        self._may_move = False
        slots = self._slots
        for flight in tuple(self._stuck):
            total, lane, tenant = self._slow.total, flight.lane, flight.lane.tenant
            if total >= slots:
                return
            own = len(lane.flights) - lane.fast
            if room(slots, total - own, own) <= 0:
                continue
            if self.shared and room(slots, total - tenant.slow, tenant.slow) <= 0:
                continue
            del self._stuck[flight]
            self._count(flight, -1)
            flight.is_slow = True
            self._count(flight, 1)

    # ── books ─────────────────────────────────────────────────────────────────────────────────

    def _count(self, flight: Flight, one: int) -> None:
        lane = flight.lane
        tenant = lane.tenant
        pool = self._slow if flight.is_slow else self._fast
        pool.total += one
        if flight.is_again:
            pool.again += one
            lane.sending_again += one
        if flight.is_slow:
            tenant.slow += one
            return
        tenant.fast += one
        lane.fast += one
        if not lane.proven:
            tenant.doubtful += one

    def _count_waiting(self, lane: _Lane, delivery: ClaimedDelivery, one: int) -> None:
        self._waiting += one
        lane.tenant.waiting_count += one
        if not _is_again(delivery):
            self._first_waiting += one
        for gate in lane.gates:
            gate.waiting += one
        if lane.slow and lane.waiting == (one > 0):
            self._slow_waiting += one
        if one < 0 and not lane.waiting:
            lane.tenant.waiting.pop(lane, None)
            if not lane.tenant.waiting:
                self._round.pop(lane.tenant, None)

    def _return_waiting(self, lane: _Lane, why: str, at: float | None) -> None:
        for line in (lane.first, lane.again):
            self._returned += [
                Returned(each, why, at) for each in self._drop(lane, line, len(line))
            ]

    def _drop(
        self, lane: _Lane, line: deque[tuple[ClaimedDelivery, float]], count: int
    ) -> list[ClaimedDelivery]:
        """The last ones of a line, out of hand."""
        dropped = []
        for _ in range(count):
            delivery, _since = line.pop()
            self._count_waiting(lane, delivery, -1)
            dropped.append(delivery)
        if not lane.held:
            self._busy.pop(lane, None)
        dropped.reverse()
        return dropped

    def _lane(self, delivery: ClaimedDelivery) -> _Lane:
        subscription = delivery.target.subscription
        lane = self._lanes.pop(subscription.id, None)
        if lane is None:
            organization_id = delivery.target.organization_id
            tenant = self._tenants.get(organization_id)
            if tenant is None:
                tenant = self._tenants[organization_id] = _Tenant(organization_id)
            tenant.lanes += 1
            lane = _Lane(subscription.id, tenant)
            self._forget_one()
        self._lanes[subscription.id] = lane
        self._configure(lane, subscription)
        return lane

    def _configure(self, lane: _Lane, subscription: Subscription) -> None:
        lane.limit = subscription.max_concurrency
        lane.resize()
        rate = subscription.rate_limit
        if lane.url == subscription.url and rate == (lane.rate and lane.rate.per_second):
            return
        for gate in lane.gates:
            gate.waiting -= lane.waiting
        lane.url = subscription.url
        name = rate_of_host(_host(subscription.url), self._rates)
        lane.host = None if name is None else self._hosts[name]
        if rate is None:
            lane.rate = None
        elif lane.rate is None or lane.rate.per_second != rate:
            lane.rate = Gate(rate)
        lane.gates = tuple(gate for gate in (lane.rate, lane.host) if gate is not None)
        for gate in lane.gates:
            gate.waiting += lane.waiting

    def _forget_one(self) -> None:
        """The one that was idle for longest, when more are remembered than need be."""
        if len(self._lanes) < LANES_KEPT:
            return
        for lane in self._lanes.values():
            if not lane.held:
                break
        else:
            return
        del self._lanes[lane.id]
        self._restricted.pop(lane, None)
        lane.tenant.lanes -= 1
        if not lane.tenant.lanes:
            del self._tenants[lane.tenant.id]


def any_room(most: int) -> Rooms:
    """Rooms that limit nobody in particular."""
    return Rooms(
        subscriptions={},
        default_subscription=most,
        organizations={},
        default_organization=most,
    )


def _is_again(delivery: ClaimedDelivery) -> bool:
    return delivery.priority > 0 or delivery.attempt_count > 0


def _host(url: str) -> str:
    """The host in a URL; nothing for what is none, which is for its attempt to say."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
