"""What a consumer holds of an inbox: what waits, what is being worked on, and until when. No I/O.

Times are seconds of a clock that only goes forward. By the consumer's account a lease is a tenth shorter
than by the service's: nobody knows how long the answer was under way.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from signal import Signals
from typing import Final

import msgspec

from triggers_api.client.errors import ApiError, ClientError, NoAnswer
from triggers_api.client.models import InboxItem, InboxResult

AT_ONCE: Final = 1000
"""Receipts of one request."""

EMPTY_S: Final = 0.25
"""Between two pulls of which the first brought nothing, whatever the service makes of ``wait_s``."""

_HALF: Final = 0.5
_SURE: Final = 0.9
_FIRST_DELAY_S: Final = 1.0
_LONGEST_DELAY_S: Final = 300.0


def retry_delay_s(item: InboxItem) -> float:
    """How long a message is put off whose handling failed: 1 s, then twice as much, up to 5 min."""
    doublings = min(max(item.receive_count, 1) - 1, 32)
    return min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0**doublings)


def may_pass(error: ClientError) -> bool:
    """Whether a consumer goes on asking."""
    if isinstance(error, ApiError):
        return error.retryable or error.status >= 500 or error.status == 429
    return isinstance(error, NoAnswer)


class Consumption(msgspec.Struct, frozen=True, kw_only=True):
    """How an inbox is consumed.

    Attributes:
        name: of the inbox; ``None``: the default one.
        types: patterns; of others nothing is pulled.
        prefetch: how many messages may wait to be handled.
        lease_s: for how long a message is held before it must be extended, which is done by itself.
        wait_s: how long a pull waits for the first message.
        hold_for_s: a message that is held for longer is not extended any more: whoever handles it hangs.
        retry_delay_s: how long a message is put off whose handling failed.
        stop_on: signals that end the consumption after what is in hand.
    """

    name: str | None
    types: Sequence[str] | None
    prefetch: int
    lease_s: float
    wait_s: float
    hold_for_s: float
    retry_delay_s: Callable[[InboxItem], float]
    stop_on: Sequence[Signals]

    def checked(self) -> "Consumption":
        """The same.

        Raises:
            ValueError: it makes no sense.
        """
        if self.prefetch < 1 or self.prefetch > AT_ONCE:
            raise ValueError(f"prefetch is from 1 to {AT_ONCE}")
        if self.lease_s < 1 or self.hold_for_s < self.lease_s or not 0 <= self.wait_s <= 30:
            raise ValueError("lease_s is at least 1, hold_for_s not less, wait_s from 0 to 30")
        return self


class Held:
    """A message that is held."""

    __slots__ = ("item", "settled", "since", "until")

    def __init__(self, item: InboxItem, since: float, until: float) -> None:
        self.item = item
        self.since = since
        self.until = until
        self.settled = False


class Holding:
    """Everything that a consumer holds. Not for several threads at once."""

    def __init__(self, plan: Consumption) -> None:
        self._plan = plan
        self._waiting: deque[Held] = deque()
        self._held: dict[str, Held] = {}
        self.acks: list[Held] = []
        self.nacks: list[tuple[Held, float]] = []
        self.lost = 0
        """How many were lost before they were acknowledged."""

    def wanted(self) -> int:
        """How many to pull now: nothing as long as half of what may wait is there."""
        room = self._plan.prefetch - len(self._waiting)
        return room if 2 * room >= self._plan.prefetch else 0

    def pulled(self, items: Iterable[InboxItem], now: float) -> int:
        """Take in what was pulled; returns how many."""
        count = 0
        for item in items:
            held = Held(item, now, now + self._plan.lease_s * _SURE)
            self._held[item.receipt] = held
            self._waiting.append(held)
            count += 1
        return count

    def take(self, now: float) -> Held | None:
        """The next one to be handled; what was lost while it waited is left out."""
        while self._waiting:
            held = self._waiting.popleft()
            if held.until > now:
                return held
            self._forget(held)
        return None

    def is_lost(self, held: Held, now: float) -> bool:
        """Whether somebody else may have it."""
        return held.until <= now

    def acked(self, held: Held) -> None:
        """It is done."""
        if not held.settled:
            held.settled = True
            self.acks.append(held)

    def nacked(self, held: Held, delay_s: float) -> None:
        """It is to come again."""
        if not held.settled:
            held.settled = True
            self.nacks.append((held, delay_s))

    def settled(self, held: Held) -> None:
        """Its handler has said so itself."""
        held.settled = True
        self._forget(held)

    def release(self) -> None:
        """Give back what waits: it was not looked at, and may be handed out again at once."""
        while self._waiting:
            self.nacked(self._waiting.popleft(), 0.0)

    def outgoing(self) -> tuple[list[Held], dict[float, list[Held]]]:
        """What is to be told now: what is done, and what is to come again, by when."""
        acks, self.acks = self.acks[:AT_ONCE], self.acks[AT_ONCE:]
        nacks: dict[float, list[Held]] = {}
        for held, delay_s in self.nacks[:AT_ONCE]:
            nacks.setdefault(delay_s, []).append(held)
        self.nacks = self.nacks[AT_ONCE:]
        return acks, nacks

    def told(self, those: Sequence[Held], results: Sequence[InboxResult]) -> list[InboxItem]:
        """What came of it; returns those that were lost before."""
        lost = []
        for held, result in zip(those, results, strict=False):
            if result.status in {"lease_lost", "not_found"}:
                lost.append(held.item)
            self._forget(held)
        self.lost += len(lost)
        return lost

    def to_extend(self, now: float) -> list[Held]:
        """Those of which half of the lease is over, and that are worth to be held on to."""
        return [
            held
            for held in self._held.values()
            if not held.settled
            and now < held.until <= now + self._plan.lease_s * _HALF
            and now - held.since < self._plan.hold_for_s
        ][:AT_ONCE]

    def extended(
        self, those: Sequence[Held], results: Sequence[InboxResult], *, asked_at: float
    ) -> None:
        """What came of it."""
        for held, result in zip(those, results, strict=False):
            held.until = asked_at + self._plan.lease_s if result.status == "extended" else asked_at

    def look_again_s(self) -> float:
        """Seconds after which to look for what is to be extended, if nothing happens before."""
        return self._plan.lease_s * _HALF * _HALF

    def _forget(self, held: Held) -> None:
        self._held.pop(held.item.receipt, None)
