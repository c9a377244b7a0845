"""Every metric, in one place, on one registry a process.

Names follow Prometheus' rules: one prefix, base units, ``_total`` for counters. Labels are bounded:
never an id, a URL or a type that a caller chose.
"""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

from triggers_api import __version__
from triggers_api.errors import OutcomeUnknown, StorageFull, StoreUnavailable
from triggers_api.telemetry.rollups import Rollups

FAST: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
    5, 10,
)  # fmt: skip
SLOW: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
COARSE: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10)
"""For histograms of which there are many."""
LAGS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one process. ``registry`` is what ``/metrics`` shows."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.rollups = Rollups()
        """What is counted by organization, for charts; none of it is among the metrics."""

        self._of_ingest(registry)
        self._of_store(registry)
        self.queue_depth = Gauge(
            "triggers_queue_depth", "Events accepted, due and not yet routed.", registry=registry
        )
        self.queue_scheduled = Gauge(
            "triggers_queue_scheduled", "Events whose time has not come.", registry=registry
        )
        self.queue_leased = Gauge(
            "triggers_queue_leased", "Queued events in a processor's hands.", registry=registry
        )
        self.queue_stuck = Gauge(
            "triggers_queue_stuck", "Queued events whose lease ran out.", registry=registry
        )
        self.queue_oldest_age = Gauge(
            "triggers_queue_oldest_age_seconds",
            "How long the oldest due event has waited to be routed.",
            registry=registry,
        )
        self.deliveries_waiting = Gauge(
            "triggers_deliveries_waiting", "Deliveries pending or retrying.", registry=registry
        )
        self.deliveries_in_flight = Gauge(
            "triggers_deliveries_in_flight", "Deliveries being sent.", registry=registry
        )
        processed = Counter(
            "triggers_processed",
            "Claimed events by what routing came to.",
            ["result"],
            registry=registry,
        )
        self.processed_ok = processed.labels("ok")
        self.processed_stale = processed.labels("stale")
        self.processed_error = processed.labels("error")
        self.processed_timeout = processed.labels("timeout")
        self.processed_set_aside = processed.labels("set_aside")
        self.batch_events = Histogram(
            "triggers_batch_events", "Events claimed at once.", buckets=SIZES, registry=registry
        )
        self.batch_seconds = Histogram(
            "triggers_batch_seconds",
            "From claiming a batch to having routed it.",
            buckets=FAST,
            registry=registry,
        )
        self.accepted_to_routed = Histogram(
            "triggers_accepted_to_routed_seconds",
            "From an event's acceptance (or its deliver_at) to its routing being stored.",
            buckets=FAST,
            registry=registry,
        )
        self.duplicates = Counter(
            "triggers_duplicates",
            "Events that were not stored because their dedup_id was taken.",
            registry=registry,
        )

        self._filter_faults = Counter(
            "triggers_filter_faults",
            "Filters that had no answer for an event, which then does not match, by why.",
            ["code"],
            registry=registry,
        )

        self.operational_events = Counter(
            "triggers_operational_events",
            "Events of the service's own that organizations have asked for.",
            registry=registry,
        )

        self._of_buffer(registry)
        self._count_deliveries(registry)
        self._of_process(registry)

    def _of_buffer(self, registry: CollectorRegistry) -> None:
        self.buffer_up = Gauge(
            "triggers_buffer_up", "Whether events may go into Redis now.", registry=registry
        )
        self.buffer_depth = Gauge(
            "triggers_buffer_depth",
            "Events in Redis that wait to be stored in the database.",
            registry=registry,
        )
        self.buffer_pending = Gauge(
            "triggers_buffer_pending", "Of these, those in a consumer's hands.", registry=registry
        )
        self.buffer_poisoned = Gauge(
            "triggers_buffer_poisoned",
            "Events in Redis that could not be stored, and are kept with their reasons.",
            registry=registry,
        )
        self.buffer_oldest_age = Gauge(
            "triggers_buffer_oldest_age_seconds",
            "How long the first event in Redis has waited to be stored.",
            registry=registry,
        )
        self.buffer_add_seconds = Histogram(
            "triggers_buffer_add_seconds",
            "One round trip to Redis with the events of several requests.",
            buckets=FAST,
            registry=registry,
        )
        self.buffer_add_operations = Histogram(
            "triggers_buffer_add_operations",
            "Requests that shared one such round trip.",
            buckets=SIZES,
            registry=registry,
        )
        self.buffer_land_seconds = Histogram(
            "triggers_buffer_land_seconds",
            "Storing a batch of events from Redis in the database.",
            buckets=FAST,
            registry=registry,
        )
        self.buffer_landed = Counter(
            "triggers_buffer_landed",
            "Events that left Redis, by what became of them.",
            ["result"],
            registry=registry,
        )
        self.buffer_refused = Counter(
            "triggers_buffer_refused",
            "Requests refused by the buffer, by why.",
            ["reason"],
            registry=registry,
        )
        self.buffer_fallbacks = Counter(
            "triggers_buffer_fallbacks",
            "Events that went straight into the database because Redis was away.",
            registry=registry,
        )
        self.buffer_taken_over = Counter(
            "triggers_buffer_taken_over",
            "Entries taken over from consumers that had left them.",
            registry=registry,
        )
        self.buffer_groups_made_again = Counter(
            "triggers_buffer_groups_made_again",
            "Times that the consumer group was gone and had to be made again.",
            registry=registry,
        )
        self.buffer_data_loss = Counter(
            "triggers_buffer_data_loss",
            "Accepted events that vanished from Redis before they were stored.",
            registry=registry,
        )

    def _count_deliveries(self, registry: CollectorRegistry) -> None:
        self.deliveries = Counter(
            "triggers_deliveries",
            "Deliveries by the state that an attempt brought them to.",
            ["status"],
            registry=registry,
        )
        _begin(self.deliveries, "succeeded", "retrying", "dead", "skipped", "cancelled")
        self.attempt_seconds = Histogram(
            "triggers_attempt_seconds",
            "One request to a receiver, by its outcome.",
            ["outcome"],
            buckets=SLOW,
            registry=registry,
        )
        sending = Gauge(
            "triggers_requests_in_flight",
            "Requests to receivers under way in this process: young ones, and those put aside as slow.",
            ["pool"],
            registry=registry,
        )
        self.sending_fast = sending.labels("fast")
        self.sending_slow = sending.labels("slow")
        self.endpoints_slow = Gauge(
            "triggers_endpoints_slow",
            "Subscriptions with deliveries in this process's hands that are slow.",
            registry=registry,
        )
        self.endpoints_throttled = Counter(
            "triggers_endpoints_throttled",
            "Answers by which a receiver asked to be left alone for a while.",
            registry=registry,
        )
        self.deliveries_put_off = Counter(
            "triggers_deliveries_put_off",
            "Deliveries claimed and given back unsent, by what they would have had to wait for.",
            ["reason"],
            registry=registry,
        )
        self._add_health(registry)
        self.stale_leases = Counter(
            "triggers_stale_leases",
            "Writes that changed nothing because their lease was no longer valid.",
            ["verb"],
            registry=registry,
        )
        self.recovered = Counter(
            "triggers_recovered",
            "Rows taken over from a lease that had run out, or from a process that fell silent.",
            ["kind"],
            registry=registry,
        )
        _begin(self.recovered, "event", "delivery", "job")
        self._upkeep(registry)

    def _upkeep(self, registry: CollectorRegistry) -> None:
        """Of what runs beside requests and deliveries."""
        self.jobs_open = Gauge(
            "triggers_jobs_open", "Jobs that are not finished.", registry=registry
        )
        self.jobs = Counter(
            "triggers_jobs", "Jobs that came to their end.", ["kind", "status"], registry=registry
        )
        self.replayed = Counter(
            "triggers_replayed", "Deliveries that replays made.", registry=registry
        )
        self.purged = Counter(
            "triggers_purged", "Dead letters that were deleted by request.", registry=registry
        )
        self.pruned = Counter(
            "triggers_pruned",
            "Rows deleted because they had been kept for as long as they were to be kept.",
            ["kind"],
            registry=registry,
        )
        self.keys_expiring = Gauge(
            "triggers_keys_expiring",
            "Keys that are valid and expire within seven days.",
            registry=registry,
        )
        self.inbox_waiting = Gauge(
            "triggers_inbox_waiting", "Requests that wait for events in inboxes.", registry=registry
        )
        self.inbox_pulled = Counter(
            "triggers_inbox_pulled", "Events that inboxes handed out.", registry=registry
        )
        self.inbox_pulled_again = Counter(
            "triggers_inbox_pulled_again",
            "Of these, how many had been handed out before: their lease ran out, or they came back.",
            registry=registry,
        )
        self.inbox_settled = Counter(
            "triggers_inbox_settled",
            "Events that consumers acknowledged, gave back or kept for longer, by what came of it.",
            ["status"],
            registry=registry,
        )
        self.unindexed = Gauge(
            "triggers_search_unindexed_events",
            "Events that searches look at themselves because the index does not have them yet, "
            "up to 100000 of each organization.",
            registry=registry,
        )
        self.indexed = Counter(
            "triggers_search_indexed_events",
            "Events that this process took into the index of searches.",
            registry=registry,
        )

    def _add_health(self, registry: CollectorRegistry) -> None:
        self.breakers_open = Gauge(
            "triggers_breakers_open",
            "Endpoints that keep failing, to which nothing is sent for a while, or only a probe.",
            registry=registry,
        )
        self.breakers_half_open = Gauge(
            "triggers_breakers_half_open",
            "Of these, how many get one delivery as a probe because their pause is over.",
            registry=registry,
        )
        self.endpoints_failing = Gauge(
            "triggers_endpoints_failing",
            "Endpoints whose last attempt failed, whatever was done about it.",
            registry=registry,
        )
        self.breakers_opened = Counter(
            "triggers_breakers_opened",
            "Times that an endpoint that had worked was left alone because it kept failing.",
            registry=registry,
        )
        self.farewells = Counter(
            "triggers_farewells",
            "Hooks that ended without being asked to: whether the other side understood.",
            ["result"],
            registry=registry,
        )
        self.subscriptions_disabled = Counter(
            "triggers_subscriptions_disabled",
            "Subscriptions disabled because their endpoint had failed for too long.",
            registry=registry,
        )

    def _of_ingest(self, registry: CollectorRegistry) -> None:
        ingest = Histogram(
            "triggers_ingest_seconds",
            "From a request for POST /api/events, or its batch, to its answer, by outcome.",
            ["outcome"],
            buckets=FAST,
            registry=registry,
        )
        self.ingest_accepted = ingest.labels("accepted")
        self.ingest_duplicate = ingest.labels("duplicate")
        self.ingest_rejected = ingest.labels("rejected")
        self.ingest_limited = ingest.labels("limited")
        self.ingest_unavailable = ingest.labels("unavailable")
        self.ingest_refused = Counter(
            "triggers_ingest_refused",
            "Requests that were refused because too much waits to be routed (depth), for too long "
            "(age), too much of one organization, or because the disk is nearly full.",
            ["reason"],
            registry=registry,
        )
        self.ingest_refusing = Gauge(
            "triggers_ingest_refusing",
            "1 while every event is refused, and why.",
            ["reason"],
            registry=registry,
        )
        self.queue_drain_rate = Gauge(
            "triggers_queue_drain_rate",
            "Events a second that leave the queue, as long as something waits in it.",
            registry=registry,
        )
        self.disk_free = Gauge(
            "triggers_disk_free_bytes",
            "What is left where the embedded database is.",
            registry=registry,
        )
        self.disk_reserve = Gauge(
            "triggers_disk_reserve_bytes",
            "How much of that is kept free of new events.",
            registry=registry,
        )
        self.limits_local = Gauge(
            "triggers_rate_limits_local",
            "1 while rate limits are kept by this process's share, because where they are kept for all "
            "processes is away.",
            registry=registry,
        )
        self.accepted = Counter(
            "triggers_accepted",
            "Events that were accepted, one at a time or in batches.",
            registry=registry,
        )
        self.streams = Gauge(
            "triggers_streams", "Readers that follow events as they come in.", registry=registry
        )
        self.streams_refused = Counter(
            "triggers_streams_refused",
            "Readers that were refused because their organization had as many as it may.",
            registry=registry,
        )
        self.schema_faults = Counter(
            "triggers_schema_faults",
            "Events whose payload did not fit their type's schema, by the mode that it has.",
            ["mode"],
            registry=registry,
        )
        self.batch_items = Counter(
            "triggers_batch_items",
            "Events that came in batches, by outcome.",
            ["outcome"],
            registry=registry,
        )

    def _of_store(self, registry: CollectorRegistry) -> None:
        self.commit_seconds = Histogram(
            "triggers_commit_seconds",
            "A transaction of the embedded engine, or a group of events on PostgreSQL, with its flush.",
            buckets=FAST,
            registry=registry,
        )
        self.commit_operations = Histogram(
            "triggers_commit_operations",
            "Operations that shared one such transaction or group.",
            buckets=SIZES,
            registry=registry,
        )
        self.store_seconds = Histogram(
            "triggers_store_seconds",
            "From asking the store for something to its answer, by verb; waiting for a commit or a "
            "connection is part of it.",
            ["verb"],
            buckets=COARSE,
            registry=registry,
        )
        self.store_failures = Counter(
            "triggers_store_failures",
            "Calls of a verb that the store did not do, by what the caller was told.",
            ["verb", "code"],
            registry=registry,
        )
        self.store_errors = Counter(
            "triggers_store_errors",
            "Transactions that the database refused, by what callers were told.",
            ["code"],
            registry=registry,
        )
        _begin(self.store_errors, StorageFull.code, StoreUnavailable.code, OutcomeUnknown.code)
        connections = Gauge(
            "triggers_database_connections",
            "Connections to PostgreSQL: at work, and kept open until they are needed.",
            ["state"],
            registry=registry,
        )
        self.connections_in_use = connections.labels("in_use")
        self.connections_idle = connections.labels("idle")
        self.connections_most = Gauge(
            "triggers_database_connections_limit",
            "How many of them there may be at once.",
            registry=registry,
        )
        self.connection_wait_seconds = Histogram(
            "triggers_database_connection_wait_seconds",
            "How long something waited for a connection because all were at work.",
            buckets=FAST,
            registry=registry,
        )

    def _of_process(self, registry: CollectorRegistry) -> None:
        """Of this process, and of those that it knows of."""
        self.ready = Gauge(
            "triggers_ready",
            "Whether /readyz answers 200.",
            registry=registry,
        )
        self._checks = Gauge(
            "triggers_check",
            "The checks of /readyz: 1 where it is ok, 0 where not.",
            ["check"],
            registry=registry,
        )
        self._paused = Gauge(
            "triggers_paused",
            "What an operator has switched off for everybody: 1; what goes on: 0.",
            ["part"],
            registry=registry,
        )
        self._processes = Gauge(
            "triggers_processes",
            "Processes on this database that are heard of, by what they do.",
            ["role"],
            registry=registry,
        )
        self.processes_lost = Counter(
            "triggers_processes_lost",
            "Processes that fell silent without having ended in order, as seen from this one.",
            registry=registry,
        )
        self.loop_crashes = Counter(
            "triggers_loop_crashes",
            "Times that a background loop raised and was started again.",
            ["loop"],
            registry=registry,
        )
        self.event_loop_lag = Histogram(
            "triggers_event_loop_lag_seconds",
            "How much later than asked for the event loop came round, four times a second.",
            buckets=LAGS,
            registry=registry,
        )
        spans = Counter(
            "triggers_trace_spans",
            "Spans of traces, by what became of them.",
            ["result"],
            registry=registry,
        )
        self.spans_sent = spans.labels("sent")
        self.spans_failed = spans.labels("failed")
        self.spans_dropped = spans.labels("dropped")
        Gauge(
            "triggers_build_info",
            "Always 1; which version this is.",
            ["version"],
            registry=registry,
        ).labels(__version__).set(1)
        ProcessCollector(registry=registry)

    def show_readiness(self, checks: Mapping[str, str], *, ready: bool) -> None:
        """Show what ``/readyz`` says."""
        self.ready.set(ready)
        for check, state in checks.items():
            self._checks.labels(check).set(state == "ok")

    def show_paused(self, **parts: bool) -> None:
        """Show which parts an operator has switched off."""
        for part, paused in parts.items():
            self._paused.labels(part).set(paused)

    def show_processes(self, roles: Mapping[str, int]) -> None:
        """Show how many processes have a role, for each role there is."""
        for role, count in roles.items():
            self._processes.labels(role).set(count)

    def count_filter_fault(self, code: str) -> None:
        """Count a filter that had no answer; the codes are ``model.filter.FAULT_CODES``."""
        self._filter_faults.labels(code).inc()

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)


def _begin(counter: Counter, *values: str) -> None:
    """Have a counter show 0 from the start: from nothing to 1 Prometheus sees no rise."""
    for value in values:
        counter.labels(value)
