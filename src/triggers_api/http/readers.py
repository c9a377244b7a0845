"""How many streams an organization has open here, and may have.

A stream is a connection that does not end. Without a bound one organization could hold as many as the
process may have, and nobody else would be answered.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from triggers_api.errors import RateLimited
from triggers_api.telemetry.metrics import Metrics

_COME_AGAIN_S: Final = 10.0


class Readers:
    """Counts them, by organization, in this process."""

    def __init__(self, most: int, *, metrics: Metrics) -> None:
        """``most``: of one organization; 0 for as many as come."""
        self._most = most
        self._metrics = metrics
        self._open: Counter[str] = Counter()

    def check(self, organization_id: str) -> None:
        """Whether there may be one more.

        Raises:
            RateLimited: not before another one ends.
        """
        if self._most and self._open[organization_id] >= self._most:
            self._metrics.streams_refused.inc()
            raise RateLimited(
                f"the organization follows its events {self._most} times already, which is as often as "
                "it may at once: end a stream that nobody reads",
                retry_after_s=_COME_AGAIN_S,
            )

    @contextmanager
    def reading(self, organization_id: str) -> Iterator[None]:
        """While one is open."""
        self._open[organization_id] += 1
        self._metrics.streams.inc()
        try:
            yield
        finally:
            self._metrics.streams.dec()
            self._open[organization_id] -= 1
            if not self._open[organization_id]:
                del self._open[organization_id]
