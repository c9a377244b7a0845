"""A worker: one process of the service, as the others see it."""

import msgspec

from triggers_api.model.timestamp import Timestamp


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A process and when it was last heard of.

    Attributes:
        id: host, process id and a random part: never the same twice.
        roles: what it does: ``api``, ``processor``, ``dispatcher``.
        seen_at: its last sign of life, by the store's clock.
    """

    id: str
    roles: tuple[str, ...]
    version: str
    started_at: Timestamp
    seen_at: Timestamp
