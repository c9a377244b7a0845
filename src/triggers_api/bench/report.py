"""The report: for a machine as one JSON document, for people as tables."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from triggers_api.bench.backlog import Backlog
from triggers_api.bench.batch import Batch
from triggers_api.bench.books import Accounting
from triggers_api.bench.buffer import Buffer
from triggers_api.bench.delivery import Delivery
from triggers_api.bench.idle import Idle
from triggers_api.bench.inbox import Inbox
from triggers_api.bench.ingest import Ingest
from triggers_api.bench.machine import CoreUse, Machine
from triggers_api.bench.neighbours import ENDPOINTS, FAILING, HANGING, Neighbours
from triggers_api.bench.order import Order
from triggers_api.bench.pipeline import AtRate, Delivered, Pipeline
from triggers_api.bench.search import Search
from triggers_api.bench.slices import Slice, noise
from triggers_api.bench.statistics import Latency
from triggers_api.bench.targets import Outcome, Verdict, exit_code
from triggers_api.bench.volume import Volume

_NOTHING = "-"
_LATENCY = ("min", "avg", "p50", "p95", "p99", "max")

_UNKNOWN = CoreUse(own=0.0)

Row = Sequence[str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a run came to.

    Attributes:
        started_at: RFC 3339.
        method: how it was measured, in sentences.
        options: that the command line gave, without keys.
        exit_code: of the process: 0 when every verdict holds, 4 when a target was missed, 1 when
            something is void.
    """

    version: str
    started_at: str
    seconds: float
    machine: Machine
    method: list[str]
    options: dict[str, str | int | float | bool | None]
    idle: Idle | None = None
    ingest: Ingest | None = None
    pipeline: Pipeline | None = None
    latency: AtRate | None = None
    neighbours: Neighbours | None = None
    batch: Batch | None = None
    delivery: Delivery | None = None
    order: Order | None = None
    search: Search | None = None
    inbox: Inbox | None = None
    volume: Volume | None = None
    backlog: Backlog | None = None
    buffer: Buffer | None = None
    exit_code: int = 0

    def verdicts(self) -> list[tuple[str, Verdict]]:
        """Those of all profiles, each with the profile's name."""
        profiles = {
            "ingest": self.ingest,
            "pipeline": self.pipeline,
            "latency": self.latency,
            "neighbours": self.neighbours,
            "batch": self.batch,
            "delivery": self.delivery,
            "order": self.order,
            "search": self.search,
            "inbox": self.inbox,
            "volume": self.volume,
            "backlog": self.backlog,
            "buffer": self.buffer,
            "idle": self.idle,
        }
        return [
            (name, verdict)
            for name, profile in profiles.items()
            if profile is not None
            for verdict in profile.verdicts
        ]


def judged(report: Report) -> Report:
    """The same report with its exit code."""
    verdicts = [verdict for _, verdict in report.verdicts()]
    return msgspec.structs.replace(report, exit_code=exit_code(verdicts))


def as_json(report: Report) -> str:
    """One document, indented."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()


def as_text(report: Report) -> str:
    """Tables, for people."""
    lines = list(_head(report))
    disturbed = noise(list(_all_slices(report)))
    if disturbed:
        lines.append(f"  NOISE     {disturbed}: rates are too low, tails too long")
    told: tuple[tuple[object, Callable[[Any], Iterable[str]]], ...] = (
        (report.ingest, _ingest),
        (report.pipeline, _pipeline),
        (report.latency, _at_rate),
        (report.neighbours, _neighbours),
        (report.batch, _batch),
        (report.delivery, _delivery),
        (report.order, _order),
        (report.search, _search),
        (report.inbox, _inbox),
        (report.volume, _volume),
        (report.backlog, _backlog),
        (report.buffer, _buffer),
        (report.idle, _idle),
    )
    for measured, tell in told:
        if measured is not None:
            lines += tell(measured)
    lines += _verdicts(report.verdicts())
    return "\n".join(lines)


def table(rows: Sequence[Row], columns: str) -> list[str]:
    """Rows as aligned lines; ``columns`` has an ``l`` or ``r`` for the side of each column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if side == "l" else cell.rjust(width)
            for side, cell, width in zip(columns, row, widths, strict=True)
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines


def _head(report: Report) -> Iterator[str]:
    machine = report.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    yield f"Triggers API {report.version}, measured {report.started_at}, in {report.seconds:.0f} s"
    yield ""
    yield from table(
        [
            ("machine", f"{machine.cpu}, {machine.cores} cores, {machine.memory_mb} MB"),
            ("system", f"{machine.system}; load average {machine.load_average:.2f}"),
            ("software", f"Python {machine.python}, SQLite {machine.sqlite}, {packages}"),
            (
                "disk",
                f"{machine.file_system} at {machine.folder}, "
                f"a sync of 4 KiB takes {machine.sync_ms:.2f} ms",
            ),
            *(("method" if not number else "", line) for number, line in enumerate(report.method)),
        ],
        "ll",
    )


def _ingest(measured: Ingest) -> Iterator[str]:
    yield from _title(f"ingest - closed loop, {measured.connections} connections")
    yield from _slices(measured.slices)
    latency = [_milliseconds(measured.latency, name) for name in _LATENCY]
    yield from _facts(
        ("ingest, median of the slices", f"{measured.ingest_rate:,.0f}/s"),
        ("  min, avg, p50, p95, p99, max", ", ".join(latency) + " ms"),
        ("echo, median of the slices", _rate(measured.echo_rate)),
        ("ingest / echo", _number(measured.ratio)),
        ("  round by round", ", ".join(map(_number, measured.ratios)) or _NOTHING),
        ("  with processing paused", _number(measured.paused_ratio)),
        ("  by CPU time", _number(measured.cpu_ratio)),
        *_raw(measured),
        ("left to be routed after slices", ", ".join(map(str, measured.left_to_route))),
        ("memory at the end", _with_unit(measured.resident_mb, "MB")),
    )
    yield from _accounting(measured.accounting)


def _search(measured: Search) -> Iterator[str]:
    sizes = list(dict.fromkeys(each.stored for each in measured.found))
    yield from _title("search - milliseconds to the first page, by how many events are stored")
    found = {(each.kind, each.stored): each for each in measured.found}
    names = [f"{size:,}: {what}" for size in sizes for what in ("found", "p50", "p95")]
    rows: list[Row] = [("", *names, "cut short")]
    for kind in dict.fromkeys(each.kind for each in measured.found):
        of_kind = [found[kind, size] for size in sizes]
        cells = [
            cell
            for each in of_kind
            for cell in (
                f"{each.events:g}",
                _milliseconds(each.latency, "p50"),
                _milliseconds(each.latency, "p95"),
            )
        ]
        rows.append((kind, *cells, _share(of_kind[-1].unfinished / of_kind[-1].latency.count)))
    yield from table(rows, "l" + "r" * (len(names) + 1))
    yield ""
    yield from _facts(
        ("stored and routed in", ", ".join(f"{each:g} s" for each in measured.filled_s)),
        ("then indexed in", ", ".join(f"{each:g} s" for each in measured.indexed_s)),
        ("not found at once", f"{measured.missed:,}"),
    )


def _volume(measured: Volume) -> Iterator[str]:
    yield from _title(f"volume - {measured.stored:,} events stored, beside none")
    yield from _slices(measured.slices)
    yield from _facts(
        ("ingest, nothing stored", _rate(measured.empty_rate)),
        ("ingest, many stored", _rate(measured.full_rate)),
        ("many / nothing", _number(measured.ratio)),
        ("  round by round", ", ".join(map(_number, measured.ratios))),
        ("plans that are others", ", ".join(measured.different_plans) or "none"),
        ("storing them took", f"{measured.filled_s:g} s"),
    )


def _backlog(measured: Backlog) -> Iterator[str]:
    yield from _title(f"backlog - {measured.events:,} events that waited, then routed")
    yield from _slices(measured.slices)
    rates = ("with load" if rate is None else f"{rate:,.0f}" for rate in measured.drain_rates)
    yield from _facts(
        ("routed/s, tenth by tenth", ", ".join(rates)),
        ("first and last, smaller / larger", _number(measured.constant)),
        ("ingest p99, waiting / nothing", _number(measured.waiting_ratio)),
        ("ingest p99, being routed / nothing", _number(measured.draining_ratio)),
        ("memory, at most", f"{measured.memory_mb:g} MB"),
        ("storing them took", f"{measured.stored_s:g} s"),
    )


def _neighbours(measured: Neighbours) -> Iterator[str]:
    well = ENDPOINTS - HANGING - FAILING
    yield from _title(
        f"neighbours - {well} endpoints beside {HANGING} that hang, {FAILING} that fail"
    )
    rows: list[Row] = [("", "deliveries/s", "received p50 ms", "p99", "max", "ingest p99", "again")]
    rows += [
        (
            "beside trouble" if each.troubled else "without trouble",
            f"{each.rate:,.0f}",
            *(_milliseconds(each.received, name) for name in ("p50", "p99", "max")),
            _milliseconds(each.ingest, "p99"),
            f"{each.repeats:,}",
        )
        for each in measured.runs
    ]
    yield from table(rows, "lrrrrrr")
    yield ""
    yield from _slices([each for run in measured.runs for each in run.slices])
    yield from _facts(
        ("deliveries, beside / without", _number(measured.rate_ratio)),
        ("received p99, beside / without", _number(measured.received_ratio)),
        ("ingest p99, beside / without", _number(measured.ingest_ratio)),
    )


def _batch(measured: Batch) -> Iterator[str]:
    yield from _title(f"batch - {measured.size} events each, beside the bare insert of their rows")
    yield from _slices(measured.slices)
    yield from _facts(
        ("events accepted", _rates(measured.rates)),
        ("events inserted", _rates(measured.bare_rates)),
        ("accepted / inserted", _number(measured.ratio)),
        ("  round by round", ", ".join(map(_number, measured.ratios))),
    )


def _delivery(measured: Delivery) -> Iterator[str]:
    yield from _title(f"delivery - {measured.events:,} at once, beside a loop that only posts")
    yield from _facts(
        ("claimed, signed, sent, settled", _rates(measured.rates)),
        ("the bare loop", _rates(measured.bare_rates)),
        ("delivery / bare loop", _number(measured.ratio)),
        ("  round by round", ", ".join(map(_number, measured.ratios))),
    )


def _order(measured: Order) -> Iterator[str]:
    yield from _title(f"order - {measured.keys:,} keys, beside deliveries in no order")
    yield from _slices(measured.slices)
    yield from _facts(
        ("in no order", _rates(measured.rates)),
        ("by key", _rates(measured.ordered_rates)),
        ("by key / in no order", _number(measured.ratio)),
    )


def _inbox(measured: Inbox) -> Iterator[str]:
    yield from _title(f"inbox - pulls of {measured.size}, milliseconds, by how many are stored")
    rows: list[Row] = [("stored", "pull p50", "p95", "p99", "ack p50", "p95", "p99")]
    rows += [
        (
            f"{each.stored:,}",
            *(
                _milliseconds(latency, name)
                for latency in (each.pull, each.ack)
                for name in ("p50", "p95", "p99")
            ),
        )
        for each in measured.pulls
    ]
    yield from table(rows, "rrrrrrr")
    yield ""
    yield from _facts(("pull p99, most / fewest stored", _number(measured.ratio)))


def _buffer(measured: Buffer) -> Iterator[str]:
    yield from _title(
        f"buffer - ingest with {measured.connections} connections, by way of {measured.redis}"
    )
    rows: list[Row] = [("", "rate/s", "of PostgreSQL", "p50 ms", "p95", "p99", "max")]
    rows += [
        (
            way.what,
            f"{way.rate:,.0f}",
            _number(way.ratio),
            *(_milliseconds(way.latency, name) for name in ("p50", "p95", "p99", "max")),
        )
        for way in measured.ways
    ]
    yield from table(rows, "lrrrrrr")
    yield ""
    yield from _slices(measured.slices)
    for name, accounting in (("PostgreSQL", measured.direct), ("Redis", measured.buffered)):
        yield f"  {name}"
        yield from _accounting(accounting)


def _rates(rates: Sequence[float]) -> str:
    return ", ".join(f"{rate:,.0f}" for rate in rates) + " /s"


def _raw(measured: Ingest) -> Iterator[tuple[str, str]]:
    if measured.raw_rates:
        yield "raw inserts by unnest, by round", ", ".join(f"{r:,.0f}" for r in measured.raw_rates)
        yield "ingest / raw inserts", _number(measured.raw_ratio)


def _pipeline(measured: Pipeline) -> Iterator[str]:
    yield from _title("pipeline - accept, route, sign, deliver, settle in one process")
    yield from _slices([measured.load])
    yield from _facts(
        ("settled", f"{measured.rate:,.0f}/s"),
        ("  for each second of CPU", _rate(measured.cpu_rate)),
        (
            "accepted, received, settled after",
            f"{measured.accept_seconds:.2f}, {measured.receive_seconds:.2f}, "
            f"{measured.settle_seconds:.2f} s",
        ),
        ("accepted to routed, p95", _with_unit(measured.routed_p95_ms, "ms")),
        ("memory at the end", _with_unit(measured.resident_mb, "MB")),
    )
    yield from _accounting(measured.accounting)
    yield from _delivered(measured.delivered)


def _at_rate(measured: AtRate) -> Iterator[str]:
    yield from _title(f"latency - open loop, {measured.rate:,g} events/s")
    rows: list[Row] = [("milliseconds", *_LATENCY)]
    for name, latency in (
        ("sent to answered", measured.load.latency),
        ("sent to received", measured.received_latency),
        ("of it, sent late", measured.send_delay),
    ):
        rows.append((name, *(_milliseconds(latency, each) for each in _LATENCY)))
    yield from table(rows, "lrrrrrr")
    yield ""
    yield from _slices([measured.load])
    yield from _facts(
        ("accepted to routed, p95", _with_unit(measured.routed_p95_ms, "ms")),
        ("memory at the end", _with_unit(measured.resident_mb, "MB")),
    )
    yield from _accounting(measured.accounting)
    yield from _delivered(measured.delivered)


def _idle(measured: Idle) -> Iterator[str]:
    yield from _title(f"idle - {measured.seconds:g} s")
    yield from _facts(
        ("CPU", _with_unit(measured.cpu_percent, "% of a core")),
        ("memory", _with_unit(measured.resident_mb, "MB")),
    )


def _verdicts(verdicts: Sequence[tuple[str, Verdict]]) -> Iterator[str]:
    yield from _title("verdicts")
    yield from table(
        [
            (
                # What does not hold is to be seen.
                verdict.outcome if verdict.outcome is Outcome.HOLDS else verdict.outcome.upper(),
                profile,
                verdict.target,
                _with_unit(verdict.measured, verdict.unit),
                verdict.reason,
            )
            for profile, verdict in verdicts
        ],
        "lllrl",
    )


def _slices(slices: Sequence[Slice]) -> list[str]:
    head = (
        "", "answers", "rate/s", "p50 ms", "p95", "p99", "max", "server CPU", "others", "stolen",
        "loader CPU", "others", "by", "statuses",
    )  # fmt: skip
    rows: list[Row] = [head]
    for each in slices:
        server, load = each.server or _UNKNOWN, each.load
        statuses = [f"{status}:{count}" for status, count in each.statuses.items()]
        if each.lost:
            statuses.append(f"lost:{each.lost}")
        if each.void:
            statuses.append("VOID")
        rows.append(
            (
                each.what,
                f"{each.answers:,}",
                f"{each.rate:,.0f}",
                *(_milliseconds(each.latency, name) for name in ("p50", "p95", "p99", "max")),
                _share(None if server is _UNKNOWN else server.own),
                _share(server.others),
                _share(server.stolen),
                _share(load.own),
                _share(load.others),
                each.loader,
                " ".join(statuses),
            )
        )
    return [*table(rows, "l" + "r" * 11 + "ll"), ""]


def _accounting(accounting: Accounting) -> list[str]:
    stored = _NOTHING if accounting.stored is None else f"{accounting.stored:,}"
    if accounting.unanswered:
        stored += f" (and {accounting.unanswered:,} requests were left without an answer)"
    return _facts(
        ("accepted, stored", f"{accounting.accepted:,}, {stored}"),
        ("sampled by id, found", f"{accounting.sampled}, {accounting.found}"),
        (
            "duplicates, wrongly answered",
            f"{accounting.duplicates:,}, {accounting.wrong_duplicates}",
        ),
    )


def _delivered(delivered: Delivered) -> list[str]:
    settled = _NOTHING if delivered.settled is None else f"{delivered.settled:,}"
    return _facts(
        ("received, settled", f"{delivered.received:,}, {settled}"),
        ("received again, of others", f"{delivered.repeats:,}, {delivered.strangers:,}"),
        (
            "signatures checked, wrong",
            f"{delivered.verified}, {delivered.wrong_signatures}",
        ),
    )


def _all_slices(report: Report) -> Iterator[Slice]:
    if report.ingest is not None:
        yield from report.ingest.slices
    if report.neighbours is not None:
        for each in report.neighbours.runs:
            yield from each.slices
    if report.batch is not None:
        yield from report.batch.slices
    if report.order is not None:
        yield from report.order.slices
    if report.volume is not None:
        yield from report.volume.slices
    if report.backlog is not None:
        yield from report.backlog.slices
    if report.buffer is not None:
        yield from report.buffer.slices
    for profile in (report.pipeline, report.latency):
        if profile is not None:
            yield profile.load


def _title(text: str) -> list[str]:
    return ["", text.upper(), ""]


def _facts(*facts: tuple[str, str]) -> list[str]:
    return [f"  {name:<36}{value}" for name, value in facts]


def _milliseconds(latency: Latency | None, name: str) -> str:
    return _NOTHING if latency is None else f"{getattr(latency, name):.2f}"


def _share(share: float | None) -> str:
    return _NOTHING if share is None else f"{share:.0%}"


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.2f}"


def _rate(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:,.0f}/s"


def _with_unit(value: float | None, unit: str) -> str:
    if value is None:
        return _NOTHING
    shown = f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.4g}"
    return f"{shown} {unit}".rstrip()
