"""How much a claim may take, of whom, and what it has taken. No I/O."""

from typing import Final, Generic

from triggers_api.store.questions import FIRST, Allowed, Due, Lane
from triggers_api.store.turns import K

_LATER_SHARE: Final = 0.25


class _Room:
    """How many more, and how many of them are kept for the second line."""

    __slots__ = ("free", "kept", "taken")

    def __init__(self, free: int, phase: float) -> None:
        self.free = max(free, 0)
        self.kept = int(self.free * _LATER_SHARE + phase)
        self.taken = 0

    def take(self, priority: int) -> None:
        self.free -= 1
        self.taken += 1
        if priority != FIRST:
            self.kept -= 1


class Taking(Generic[K]):
    """What has been taken so far, and the room that is left."""

    def __init__(self, limit: int, allowed: Allowed[K], phase: float) -> None:
        self._allowed = allowed
        self._phase = phase
        self.whole = _Room(limit, phase)
        self._lanes: dict[K, _Room] = {}
        self._organizations: dict[K, _Room] = {}
        self.full = {each for each, free in allowed.organizations.items() if free <= 0}
        self.taken: dict[K, Due[K]] = {}

    def may_have_room(self, organization: K, subscription: K) -> bool:
        """Whether it depends on the subscription alone."""
        allowed = self._allowed
        free = allowed.subscriptions.get(subscription, allowed.default_subscription)
        return free > 0 and self.organization(organization).free > 0

    def room_of(self, of: Lane[K] | Due[K]) -> int:
        """How many more of what waits for a subscription may be taken by its and its owner's room."""
        return min(self.lane(of).free, self.organization(of.organization).free)

    def lane(self, of: Lane[K] | Due[K]) -> _Room:
        found = self._lanes.get(of.subscription)
        if found is None:
            free = 0
            if of.most > 0:
                allowed = self._allowed
                default = min(of.most, allowed.default_subscription)
                free = allowed.subscriptions.get(of.subscription, default)
                if of.probe:
                    free = min(free, 1)
            found = self._lanes[of.subscription] = _Room(free, self._phase)
        return found

    def organization(self, key: K) -> _Room:
        found = self._organizations.get(key)
        if found is None:
            allowed = self._allowed
            free = allowed.organizations.get(key, allowed.default_organization)
            found = self._organizations[key] = _Room(free, self._phase)
            if not found.free:
                self.full.add(key)
        return found

    def take(self, due: Due[K], *, from_kept: bool = False) -> bool:
        """Take one if there is room for it; of the second line, from what is kept for that line."""
        whole, lane = self.whole, self.lane(due)
        organization = self.organization(due.organization)
        if not (whole.free and lane.free and organization.free) or due.delivery in self.taken:
            return False
        if from_kept:
            if min(whole.kept, lane.kept, organization.kept) <= 0:
                return False
        elif due.priority == FIRST and whole.free <= whole.kept:
            return False
        whole.take(due.priority)
        lane.take(due.priority)
        organization.take(due.priority)
        if not organization.free:
            self.full.add(due.organization)
        self.taken[due.delivery] = due
        return True
