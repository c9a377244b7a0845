"""Where a process stands in its round over the lanes: who was looked at last, and who comes next.

A lane is what waits for one subscription. Lanes lie organization by organization; a round goes through
all organizations once, beginning behind the one where the last look ended, and within an organization
through all of its lanes once, beginning behind the last one that was served when its room was used up.
"""

from enum import Enum, auto
from typing import Any, Final, Generic, Protocol, TypeVar


class Key(Protocol):
    """What can be put in order."""

    def __lt__(self, other: Any, /) -> bool:  # noqa: ANN401 - of its own kind
        """Whether it comes before the other."""

    def __gt__(self, other: Any, /) -> bool:  # noqa: ANN401
        """Whether it comes after the other."""

    def __le__(self, other: Any, /) -> bool:  # noqa: ANN401
        """Whether it comes before the other, or is the same."""


K = TypeVar("K", bound=Key)
"""What an engine's rows have as keys."""

_KEPT: Final = 1000
"""Organizations of which it is remembered where they were left; forgetting costs only that."""

_STRIDE: Final = 0.6180339887498949
"""The golden section's part: multiples of it, without their whole part, are spread evenly over [0, 1),
and so is every third or every hundredth of them."""


class Verdict(Enum):
    """What to do about a lane that was found."""

    LOOK = auto()
    """Look at what waits in it."""
    PASS_OVER = auto()
    """Leave it out; the ones found behind it are next."""
    ELSEWHERE = auto()
    """Leave it out, and go on behind :attr:`Turns.after`."""
    ENDED = auto()
    """Everybody was looked at."""


class Turns(Generic[K]):
    """A process's memory from claim to claim, so that everybody has a turn."""

    def __init__(self, lowest: K, highest: K) -> None:
        """Begin; no row has one of these two as its key."""
        self._lowest = lowest
        self._highest = highest
        self.after: tuple[K, K] = (lowest, lowest)
        """Behind which organization and subscription the look goes on."""
        self.phase = 0.0
        """What is added before a share is rounded down, so that it is exact over many claims."""
        self._began: K | None = None
        self._around = False
        self._circle: tuple[K, K, bool] | None = None
        self._left: dict[K, K] = {}

    def copy(self) -> "Turns[K]":
        """The same, to go on from: claims that run at once do not disturb each other."""
        twin = Turns(self._lowest, self._highest)
        twin.after, twin.phase = self.after, self.phase
        twin._began, twin._around, twin._circle = self._began, self._around, self._circle
        twin._left = dict(self._left)
        return twin

    def next_phase(self) -> None:
        """To be called once for a claim."""
        self.phase = (self.phase + _STRIDE) % 1

    def begin(self) -> None:
        """Begin a round, unless one is under way."""
        if self._began is None:
            self._began = self.after[0]

    def arrive(self, lane: tuple[K, K] | None, *, full: bool) -> Verdict:
        """Decide about the lane found next behind :attr:`after`, ``None`` when there is none.

        ``full`` says that its organization has no room.
        """
        if self._circle is not None:
            organization, start, wrapped = self._circle
            same = lane is not None and lane[0] == organization
            if not (lane is None or lane[0] != organization or (wrapped and lane[1] > start)):
                if full:
                    self.leave(organization, self.after[1])
                    return Verdict.PASS_OVER
                self.after = lane
                return Verdict.LOOK
            if not wrapped and start != self._lowest:
                self._circle = (organization, start, True)
                self.after = (organization, self._lowest)
                return Verdict.ELSEWHERE
            self._circle = None
            self._left.pop(organization, None)
            self.after = (organization, self._highest)
            if same:
                return Verdict.ELSEWHERE
        return self._enter(lane, full=full)

    def _enter(self, lane: tuple[K, K] | None, *, full: bool) -> Verdict:
        if lane is None:
            if self._around:
                return Verdict.ENDED
            self._around = True
            self.after = (self._lowest, self._lowest)
            return Verdict.ELSEWHERE
        organization, subscription = lane
        if self._around and self._began is not None and organization > self._began:
            return Verdict.ENDED
        if full:
            self.after = (organization, self._highest)
            return Verdict.PASS_OVER
        start = self._left.get(organization, self._lowest)
        self._circle = (organization, start, False)
        if start != self._lowest and subscription <= start:
            self.after = (organization, start)
            return Verdict.ELSEWHERE
        self.after = lane
        return Verdict.LOOK

    def leave(self, organization: K, subscription: K) -> None:
        """Remember to go on behind this lane when the organization has its next turn."""
        if len(self._left) >= _KEPT:
            self._left.clear()
        self._left[organization] = subscription
        if self._circle is not None and self._circle[0] == organization:
            self._circle = None
            self.after = (organization, self._highest)

    def rest(self, last: tuple[K, K] | None = None) -> None:
        """End the round; ``last`` is the lane that was served last, when not all could be."""
        if self._circle is not None and last is None:
            self.leave(self._circle[0], self.after[1])
        if last is not None:
            self.leave(*last)
            self._circle = None
            self.after = (last[0], self._highest)
        self._began = None
        self._around = False
