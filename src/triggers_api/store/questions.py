"""What is asked of an engine while a claim chooses, and in what form it answers. No I/O."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Generic

import msgspec

from triggers_api.store.passed import Place
from triggers_api.store.turns import K

FIRST: Final = 0
"""Priority of an event's first attempt."""
LATER: Final = 1
"""Priority of everything after it."""

LANES_AT_ONCE: Final = 64


class Lane(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """What waits for a subscription.

    Attributes:
        most: how many it may have at once; 0 for one that is not delivered to now.
        probe: its breaker is open and a probe may be made.
    """

    organization: K
    subscription: K
    most: int
    probe: bool


class Due(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """A delivery that is due and in nobody's hands; ``place`` is where the engine finds it again."""

    delivery: K
    organization: K
    subscription: K
    most: int
    probe: bool
    priority: int
    due_at: int
    recovered: bool
    place: Any = None

    @property
    def line(self) -> int:
        """``FIRST`` or ``LATER``."""
        return FIRST if self.priority == FIRST else LATER

    @property
    def since(self) -> Place[K]:
        """Its place in its line."""
        return Place(self.due_at, self.delivery)


class Ahead(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """The question for what is due first behind a place in each line, up to so many of each.

    The first line comes before the second, each in the order of falling due.
    """

    after: tuple[Place[K], Place[K]]
    most: tuple[int, int]


class Among(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """The question for lanes, by organization and subscription, as they are now."""

    lanes: Sequence[tuple[K, K]]


class Behind(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """The question for the lanes behind a lane, in order, up to :data:`LANES_AT_ONCE`.

    Of a full organization at most one need be found. One that is not delivered to is followed by the
    next that is, whether anything waits there or not: so those in between cost nothing.
    """

    organization: K
    subscription: K
    full: Collection[K]


class Within(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """The question for what is due in some lanes: of each so many of either line, in order."""

    lanes: Sequence[tuple[Lane[K], int]]


class Chosen(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """The answer: what to lease, in an order in which a part from the front is fair as well."""

    due: list[Due[K]]
    unfinished: bool


class Allowed(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """``store.base.Rooms`` by the engine's keys."""

    subscriptions: Mapping[K, int]
    default_subscription: int
    organizations: Mapping[K, int]
    default_organization: int
