"""What a dispatcher has in hand: claimed deliveries, waiting or being sent, by subscription."""

from collections import Counter, deque

from triggers_api.store.base import ClaimedDelivery


def room(slots: int, others: int, own: int) -> int:
    """How many more deliveries a subscription may have.

    Half of what the others leave, rounded up: one endpoint that hangs holds half of the slots, two
    hold three quarters, and there is always a slot for the next one.

    Args:
        slots: deliveries that there may be at once.
        others: those of other subscriptions.
        own: those of this one.
    """
    return max(0, (slots - others + 1) // 2 - own)


class Lanes:
    """Claimed deliveries in order, lane by lane, and how many of each lane are being sent.

    More are claimed than can be sent at once, so that sending goes on while the store commits.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._waiting: dict[str, deque[ClaimedDelivery]] = {}
        self._sending: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._limits: dict[str, int] = {}

    @property
    def wanted(self) -> int:
        """How many more to claim: twice the slots are to be in hand."""
        return max(0, 2 * self._slots - self._held.total())

    def rooms(self) -> dict[str, int]:
        """How many more of each lane that has some to claim."""
        total = self._held.total()
        return {
            lane: self._limited(lane, room(2 * self._slots, total - own, own), own, 2)
            for lane, own in self._held.items()
        }

    @property
    def default_room(self) -> int:
        """How many to claim of a lane that has none."""
        return room(2 * self._slots, self._held.total(), 0)

    def add(self, delivery: ClaimedDelivery) -> None:
        """Put a claimed delivery at the end of its lane."""
        subscription = delivery.target.subscription
        if subscription.max_concurrency is not None:
            self._limits[subscription.id] = subscription.max_concurrency
        self._held[subscription.id] += 1
        self._waiting.setdefault(subscription.id, deque()).append(delivery)

    def take(self) -> ClaimedDelivery | None:
        """The next delivery that may be sent now, which counts as being sent from here on."""
        total = self._sending.total()
        if total >= self._slots:
            return None
        for lane, waiting in self._waiting.items():
            own = self._sending[lane]
            if self._limited(lane, room(self._slots, total - own, own), own, 1) <= 0:
                continue
            delivery = waiting.popleft()
            # To the end of the round, so that lanes take turns.
            del self._waiting[lane]
            if waiting:
                self._waiting[lane] = waiting
            self._sending[lane] += 1
            return delivery
        return None

    def take_all(self) -> list[ClaimedDelivery]:
        """Everything that waits, out of its lanes."""
        taken = [delivery for waiting in self._waiting.values() for delivery in waiting]
        self._waiting.clear()
        for delivery in taken:
            self._forget(delivery.target.subscription.id)
        return taken

    def take_lane(self, lane: str) -> list[ClaimedDelivery]:
        """Everything that waits for one subscription, out of its lane."""
        taken = list(self._waiting.pop(lane, ()))
        for _ in taken:
            self._forget(lane)
        return taken

    def sent(self, delivery: ClaimedDelivery) -> None:
        """Take note that a delivery that was taken is out of hand."""
        lane = delivery.target.subscription.id
        self._sending[lane] -= 1
        if not self._sending[lane]:
            del self._sending[lane]
        self._forget(lane)

    def _forget(self, lane: str) -> None:
        self._held[lane] -= 1
        if not self._held[lane]:
            del self._held[lane]
            self._limits.pop(lane, None)

    def _limited(self, lane: str, free: int, own: int, times: int) -> int:
        limit = self._limits.get(lane)
        return free if limit is None else min(free, times * limit - own)
