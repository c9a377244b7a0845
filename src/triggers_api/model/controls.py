"""The switches an operator turns while the service runs."""

from enum import StrEnum

import msgspec

from triggers_api.model.timestamp import Timestamp


class IngestMode(StrEnum):
    """``async`` routes later (202), ``sync`` before the answer (201), ``refuse`` answers 503."""

    ASYNC = "async"
    SYNC = "sync"
    REFUSE = "refuse"


class Running(StrEnum):
    """Whether accepted events are routed."""

    RUNNING = "running"
    PAUSED = "paused"


class DeliveryMode(StrEnum):
    """Whether deliveries are sent; ``skip`` finishes them unsent, as ``skipped``."""

    RUNNING = "running"
    PAUSED = "paused"
    SKIP = "skip"


class Controls(msgspec.Struct, frozen=True, kw_only=True):
    """The switches as they stand.

    ``None`` in ``concurrency``, ``batch_size`` and ``min_poll_ms`` means the setting.
    ``forced_by`` names the environment variable that overrides a switch, switch by switch.
    """

    ingest: IngestMode = IngestMode.ASYNC
    processing: Running = Running.RUNNING
    delivery: DeliveryMode = DeliveryMode.RUNNING
    concurrency: int | None = None
    batch_size: int | None = None
    min_poll_ms: int | None = None
    reason: str | None = None
    updated_at: Timestamp | None = None
    updated_by: str | None = None
    forced_by: dict[str, str] | None = None
