"""Which processes are on a database, and which of them fell silent: from one look to the next."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from triggers_api.model.timestamp import Timestamp
from triggers_api.model.worker import Worker

SILENT_MS: Final = 6_000
"""After so long without a sign of life a process is taken for dead; what it held goes to others."""
REMEMBERED_MS: Final = 60_000
"""For so long one that was lost is missed, unless another one takes its place."""
WORKING_ROLES: Final = ("processor", "dispatcher")


class Peers:
    """The processes as one of them sees them."""

    def __init__(self, own: Worker) -> None:
        """Nobody is known yet but the process that looks."""
        self._heard = {own.id: own}
        self._lost: dict[str, Worker] = {}
        self._replacing: set[str] = set()

    def look(self, own: Worker, listed: Iterable[Worker], now: Timestamp) -> list[Worker]:
        """Take in who is there now.

        Args:
            own: the process that looks, which is alive.
            listed: who is listed, with when each was heard of last. Who ended in order is not any
                more; who fell silent may be, or not.
            now: by the store's clock.

        Returns:
            Those that fell silent since the last look, without having ended in order.
        """
        heard = {each.id: each for each in listed if now - each.seen_at < SILENT_MS}
        heard[own.id] = own
        lost = [
            each
            for each in self._heard.values()
            # Whoever ends in order has beaten a moment ago.
            if each.id not in heard and now - each.seen_at >= SILENT_MS
        ]
        self._lost |= {each.id: each for each in lost}
        self._lost = {
            name: each
            for name, each in self._lost.items()
            if name not in heard and now - each.seen_at < SILENT_MS + REMEMBERED_MS
        }
        self._heard = heard
        self._replace()
        return lost

    def _replace(self) -> None:
        """Miss nobody any more whose place another one has taken, each the place of one."""
        self._replacing &= self._heard.keys()
        for missed in [*self._lost.values()]:
            for each in self._heard.values():
                if (
                    each.roles == missed.roles
                    and each.started_at > missed.seen_at
                    and each.id not in self._replacing
                ):
                    self._replacing.add(each.id)
                    del self._lost[missed.id]
                    break

    @property
    def roles(self) -> Mapping[str, int]:
        """How many processes that are heard of have each role."""
        counted = Counter(role for each in self._heard.values() for role in each.roles)
        return {role: counted[role] for role in ("api", *WORKING_ROLES)}

    @property
    def state(self) -> str:
        """How they are.

        ``none``: nobody routes, or nobody delivers. ``lost``: somebody fell silent less than a minute
        ago, and no process with the same roles has begun since. Otherwise ``ok``.
        """
        if not all(self.roles[role] for role in WORKING_ROLES):
            return "none"
        return "lost" if self._lost else "ok"
