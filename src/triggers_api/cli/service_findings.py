"""What ``triggers doctor`` asks a running service: the questions of the support checklist, a line each.

What anybody may ask (``/readyz``, ``/metrics``) is of one process; what an operator's key opens, of all.
"""

import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from triggers_api.cli.api import Api, NoService
from triggers_api.cli.finding import Finding
from triggers_api.cli.operator import turned_line
from triggers_api.cli.verify import verdict_lines

_BEHIND: Final = 0.9
"""Fewer routed than this share of what came in, while some wait: the queue grows."""
_FULL: Final = 0.8
"""From this share of its descriptors on a process is close to having none."""
_LATE_S: Final = 0.25
_LATE: Final = 0.01
_LATE_TURNS: Final = 10
"""A process has too little processor time if more than this share of its turns is later than that, and
at least so many: of the first turns of one that has just begun, a single late one is a large share."""
_NORMAL_DEPTH: Final = 100
_MIB: Final = 1 << 20
_PATIENCE_S: Final = 5.0


class Metrics:
    """What a process counted since it began, and its gauges."""

    def __init__(self, exposed: str) -> None:
        self._samples = [
            sample
            for family in text_string_to_metric_families(exposed)
            for sample in family.samples
        ]

    def sum(self, name: str, **labels: str) -> float:
        """Of all series with these labels; 0 if there is none."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def by(self, name: str, label: str) -> dict[str, float]:
        """A value for each value of a label."""
        return {
            sample.labels[label]: sample.value for sample in self._samples if sample.name == name
        }

    def above(self, name: str, bound: float) -> tuple[float, float]:
        """How much of a histogram is above a bound that is one of its own, and which share that is."""
        count = self.sum(f"{name}_count")
        above = count - self.sum(f"{name}_bucket", le=str(bound))
        return above, above / count if count else 0.0


class Look(NamedTuple):
    """What a service said."""

    url: str
    status: int
    ready: dict[str, Any]
    metrics: Metrics
    now: float
    """Of this machine's clock, in seconds since 1970."""


def look(url: str) -> Look | None:
    """What the service at an address says to anybody; ``None`` if none answers there."""
    api = Api(url, "", timeout_s=_PATIENCE_S)
    try:
        status, ready = api.ask("GET", "/readyz")
        exposed = api.text("/metrics")
    except NoService:
        return None
    if not isinstance(ready, dict) or "queue" not in ready:
        return None
    return Look(url, status, ready, Metrics(exposed), time.time())


def examine(seen: Look, admin_key: str | None, *, deep: bool) -> Iterator[Finding]:
    """One finding for each question; nothing is changed.

    Args:
        seen: what anybody was told.
        admin_key: an operator's; without it only what anybody may know is looked at.
        deep: also count everything that was ever accepted again.
    """
    yield _ready(seen)
    yield _queue(seen)
    yield _stuck(seen)
    yield _errors(seen)
    yield from _connections(seen)
    yield _deliveries(seen)
    yield _process(seen)
    yield from _keys(seen)
    if admin_key is None:
        yield from _paused(seen)
        return
    yield from _of_operators(Api(seen.url, admin_key), seen, deep=deep)


def _ready(seen: Look) -> Finding:
    faults = {name: state for name, state in seen.ready["checks"].items() if state != "ok"}
    said = ", ".join(f"{name} is {state}" for name, state in faults.items())
    version = next(iter(seen.metrics.by("triggers_build_info", "version")), "of an unknown version")
    text = f"{seen.url}, {version}: "
    if seen.status == 200:
        return Finding("warn" if said else "ok", "service", f"{text}{said or 'ready'}")
    only_drains = faults == {"accepting": "draining"}
    return Finding("warn" if only_drains else "fail", "service", f"{text}not ready: {said}")


def _queue(seen: Look) -> Finding:
    queue = seen.ready["queue"]
    text = (
        f"{queue['depth']} events wait to be routed ({queue['level']}), the oldest for "
        f"{queue['oldest_age_s']:.1f} s"
    )
    if queue["refusing"] is not None:
        return Finding("fail", "queue", f"{text}; events are refused ({queue['refusing']})")
    level = {"normal": "ok", "warning": "warn"}.get(queue["level"], "fail")
    return Finding(level, "queue", text)


def _stuck(seen: Look) -> Finding:
    stuck = seen.ready["queue"]["stuck"]
    if stuck:
        text = f"{stuck} events are held by leases that ran out: triggers requeue-stuck"
        return Finding("warn", "stuck", text)
    return Finding("ok", "stuck", "nothing is")


def _errors(seen: Look) -> Finding:
    metrics = seen.metrics
    lost = metrics.sum("triggers_buffer_data_loss_total")
    refused = metrics.sum("triggers_store_errors_total")
    crashed = metrics.sum("triggers_loop_crashes_total")
    stale = metrics.sum("triggers_stale_leases_total")
    text = (
        f"{refused:.0f} transactions refused, {crashed:.0f} times a part crashed, {stale:.0f} writes "
        "too late, since the process began"
    )
    if lost:
        return Finding("fail", "errors", f"{lost:.0f} accepted events vanished from Redis; {text}")
    return Finding("warn" if refused or crashed else "ok", "errors", text)


def _connections(seen: Look) -> Iterator[Finding]:
    most = seen.metrics.sum("triggers_database_connections_limit")
    if not most:
        return
    in_use = seen.metrics.sum("triggers_database_connections", state="in_use")
    text = f"{in_use:.0f} of {most:.0f} connections of the process are at work"
    yield Finding("warn" if in_use >= most else "ok", "pool", text)


def _deliveries(seen: Look) -> Finding:
    metrics = seen.metrics
    left_alone = metrics.sum("triggers_breakers_open")
    text = (
        f"{metrics.sum('triggers_deliveries_waiting'):.0f} due now or later, "
        f"{metrics.sum('triggers_deliveries_in_flight'):.0f} being sent, "
        f"{metrics.sum('triggers_endpoints_failing'):.0f} endpoints failing, "
        f"{left_alone:.0f} of them left alone"
    )
    return Finding("warn" if left_alone else "ok", "deliveries", text)


def _process(seen: Look) -> Finding:
    metrics = seen.metrics
    began = metrics.sum("process_start_time_seconds")
    share = metrics.sum("process_cpu_seconds_total") / max(seen.now - began, 1.0)
    open_, most = metrics.sum("process_open_fds"), metrics.sum("process_max_fds")
    turns, share_late = metrics.above("triggers_event_loop_lag_seconds", _LATE_S)
    late = turns >= _LATE_TURNS and share_late > _LATE
    text = (
        f"{metrics.sum('process_resident_memory_bytes') / _MIB:.0f} MiB, {share:.0%} of a processor "
        f"since it began, {open_:.0f} of {most:.0f} descriptors"
    )
    if late:
        text = f"{text}; {share_late:.0%} of its turns are more than {_LATE_S:g} s late"
    return Finding("warn" if late or open_ > _FULL * most else "ok", "process", text)


def _keys(seen: Look) -> Iterator[Finding]:
    expiring = seen.metrics.sum("triggers_keys_expiring")
    if expiring:
        yield Finding("warn", "keys", f"{expiring:.0f} expire within seven days: triggers keys")


def _paused(seen: Look) -> Iterator[Finding]:
    off = [part for part, is_off in seen.metrics.by("triggers_paused", "part").items() if is_off]
    yield Finding("warn" if off else "ok", "switches", f"off: {', '.join(off) or 'nothing'}")


# ── with an operator's key ────────────────────────────────────────────────────────────────────────


class _Refused(Exception):
    """The answer to an operator was no."""


def _of_operators(api: Api, seen: Look, *, deep: bool) -> Iterator[Finding]:
    def asked(path: str) -> dict[str, Any]:
        status, answer = api.ask("GET", path)
        if status != 200:
            raise _Refused(str(status))
        found: dict[str, Any] = answer
        return found

    try:
        yield _processes(asked("/api/health/detailed"))
        yield from _switches(asked("/api/admin/switches")["data"])
        statistics = asked("/api/admin/stats")
        yield from _routing(statistics, seen.ready["queue"]["depth"])
        yield _dead(statistics)
        yield _aside(statistics["now"])
        if deep:
            yield _books(asked("/api/admin/verify"))
    except _Refused as refused:
        # A worker has no API, and says so to everybody.
        text = f"no more is told to this key ({refused})"
        yield from _paused(seen)
        yield Finding("ok" if str(refused) == "404" else "warn", "operator", text)
    except NoService as gone:
        yield Finding("warn", "operator", str(gone))


def _processes(health: dict[str, Any]) -> Finding:
    workers = health["workers"]
    shown = ", ".join(f"{each['id']} ({each['roles']})" for each in workers)
    versions = {each["version"] for each in workers}
    if len(versions) > 1:
        each_with = ", ".join(f"{each['id']} is {each['version']}" for each in workers)
        return Finding("warn", "processes", f"of several versions: {each_with}")
    return Finding("ok", "processes", f"{len(workers)}, of one version: {shown}")


def _switches(turned: list[dict[str, Any]]) -> Iterator[Finding]:
    for each in turned:
        yield Finding("warn", "switches", turned_line(each))
    if not turned:
        yield Finding("ok", "switches", "every one is at its default")


def _routing(statistics: dict[str, Any], depth: int) -> Iterator[Finding]:
    *whole, _ = statistics["series"]
    if not whole:
        return
    accepted, routed = whole[-1]["accepted"], whole[-1]["routed"]
    text = f"{accepted} events accepted in the last whole minute, {routed} routed"
    behind = depth > _NORMAL_DEPTH and routed < _BEHIND * accepted
    yield Finding("warn" if behind else "ok", "routing", f"{text}{': it falls behind' * behind}")


def _dead(statistics: dict[str, Any]) -> Finding:
    lately, kept = statistics["total"]["deliveries"]["dead"], statistics["now"]["dead"]
    text = f"{_many(kept)} kept, {lately} of the last hour"
    return Finding("warn" if lately else "ok", "dead letters", text)


def _aside(now: dict[str, Any]) -> Finding:
    failed, quarantined = now["failed"], now["quarantined"]
    text = f"{_many(failed)} events that could not be routed, {_many(quarantined)} that do not fit"
    if failed["count"]:
        return Finding("warn", "kept aside", f"{text}: triggers quarantine")
    return Finding("ok", "kept aside", text)


def _many(counted: dict[str, Any]) -> str:
    return f"{'' if counted['complete'] else 'more than '}{counted['count']}"


def _books(found: dict[str, Any]) -> Finding:
    *faults, verdict = verdict_lines(found)
    if found["ok"]:
        return Finding("ok", "books", f"{verdict.partition(': ')[2]}, and nothing is missing")
    return Finding("fail", "books", "; ".join(line.strip() for line in faults))
