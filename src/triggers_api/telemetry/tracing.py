"""Traces, by OpenTelemetry: one from a POST through storing and routing to each attempt.

Only this file knows the SDK, which is an extra and imported when a :class:`Tracing` is made. What a
trace needs to go on in another process is kept with the event (``model/trace.py``). Spans hold ids,
sizes, codes and durations, as the log does.

Whether a trace is written down is decided once, where it begins: by whoever sent a ``traceparent``, else
by chance. For an event that is not, nothing is made here, nothing stored, and nothing sent.

Spans wait in a queue with a bound and are sent by a thread. When the queue is full, or nobody takes
them, they are dropped and counted; no request waits for that.
"""

import logging
import queue
import random
import secrets
import threading
import time
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Final

import structlog

from triggers_api import __version__
from triggers_api.errors import SettingsError
from triggers_api.model.trace import Trace, of_kept, parse
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_WAITING: Final = 4096
_AT_ONCE: Final = 512
_EVERY_S: Final = 1.0
_EXPORT_TIMEOUT_S: Final = 5.0
_LAST_WORDS_S: Final = 3.0
_SERVER_ERROR: Final = 500

Attributes = Mapping[str, str | int | float | bool]

# Ids must differ, not be secret: a generator of our own costs no system call for each.
_random: Final = random.Random(secrets.randbits(256))  # noqa: S311


class Tracing:
    """Makes spans and has them sent to a collector, by OTLP over HTTP."""

    def __init__(self, endpoint: str, *, sample: float, instance: str, metrics: Metrics) -> None:
        """Start the thread that sends.

        Args:
            endpoint: the collector's address for traces, as ``http://collector:4318/v1/traces``.
            sample: the share of the traces that begin here to be written down, 0 to 1.
            instance: of this process.
            metrics: is told what became of spans.

        Raises:
            SettingsError: the extra is not installed.
        """
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
            raise SettingsError("traces need an extra: pip install 'triggers-api[otel]'")
        from opentelemetry import trace as api  # noqa: PLC0415 - an extra, and not quick to import
        from opentelemetry.context import Context  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

        # What these say of a collector that is away, they say for every batch, with its address.
        for noisy in ("opentelemetry", "urllib3"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)
        self._api: Any = api
        self._context: Any = Context
        self._sample = sample
        self._sending = _Sending(
            OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_TIMEOUT_S), metrics=metrics
        )
        self._provider = TracerProvider(
            resource=Resource.create(
                {
                    "service.name": "triggers-api",
                    "service.version": __version__,
                    "service.instance.id": instance,
                }
            ),
            sampler=ALWAYS_ON,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(self._sending)  # type: ignore[arg-type]
        self._tracer: Any = self._provider.get_tracer("triggers_api", __version__)

    def close(self) -> None:
        """Send what waits, for some seconds at most. Blocks."""
        self._sending.close()

    def receive(self, traceparent: bytes | None, *, route: str, ago_s: float) -> "Received | None":
        """A request for an event; ``None`` if it belongs to no trace that anybody wants.

        Args:
            traceparent: the header, as it came.
            route: of the request.
            ago_s: seconds since it began.
        """
        given = parse(traceparent)
        if given is not None and not given.sampled:
            return Received(given, None, self)
        if given is None and _random.random() >= self._sample:
            return None
        span = self._span(
            f"POST {route}",
            "SERVER",
            given,
            time.time_ns() - int(ago_s * 1e9),
            {"http.request.method": "POST", "http.route": route},
        )
        return Received(_place(span), span, self)

    def stored(self, received: "Received", seconds: float) -> None:
        """What a request asked for was stored, just now, in so many seconds."""
        if received.span is not None:
            now = time.time_ns()
            began = now - int(seconds * 1e9)
            self._span("append", "INTERNAL", received.trace, began, {}).end(end_time=now)

    def routed(self, kept: bytes, *, seconds: float, attributes: Attributes) -> None:
        """It is stored who gets an event; the turn that did it began so many seconds ago."""
        place = of_kept(kept)
        if place.sampled:
            now = time.time_ns()
            began = now - int(seconds * 1e9)
            self._span("route", "CONSUMER", place, began, attributes).end(end_time=now)

    def attempt(self, kept: bytes, attributes: Attributes) -> "TracedAttempt":
        """An attempt that begins now, for an event that belongs to a trace."""
        place = of_kept(kept)
        if not place.sampled:
            return TracedAttempt(Trace(place.trace_id, _random.randbytes(8), sampled=False), None)
        span = self._span("POST", "CLIENT", place, time.time_ns(), attributes)
        return TracedAttempt(_place(span), span)

    def _span(
        self, name: str, kind: str, parent: Trace | None, began_ns: int, attributes: Attributes
    ) -> Any:  # noqa: ANN401 - the SDK's
        api, context = self._api, self._context()
        if parent is not None:
            above = api.SpanContext(
                int.from_bytes(parent.trace_id),
                int.from_bytes(parent.span_id),
                is_remote=True,
                trace_flags=api.TraceFlags(api.TraceFlags.SAMPLED),
            )
            context = api.set_span_in_context(api.NonRecordingSpan(above), context)
        return self._tracer.start_span(
            name,
            context=context,
            kind=api.SpanKind[kind],
            attributes=attributes,
            start_time=began_ns,
        )


class Received:
    """A request that belongs to a trace; ``trace`` is what its events carry on."""

    __slots__ = ("_tracing", "span", "trace")

    def __init__(self, trace: Trace, span: Any, tracing: Tracing) -> None:  # noqa: ANN401 - the SDK's
        self.trace = trace
        self.span = span
        self._tracing = tracing

    def stored(self, seconds: float) -> None:
        """See :meth:`Tracing.stored`."""
        self._tracing.stored(self, seconds)

    def end(self, status_code: int, attributes: Attributes) -> None:
        """It was answered."""
        if self.span is not None:
            self.span.set_attribute("http.response.status_code", status_code)
            self.span.set_attributes(attributes)
            if status_code >= _SERVER_ERROR:
                _fail(self.span, str(status_code))
            self.span.end()


class TracedAttempt:
    """One request to a receiver; ``traceparent`` is what it carries."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, place: Trace, span: Any) -> None:  # noqa: ANN401 - the SDK's
        self.traceparent = place.header
        self._span = span

    def end(self, *, status_code: int | None, error: str | None) -> None:
        """It was answered, or it failed with a word of ours."""
        if self._span is None:
            return
        if status_code is not None:
            self._span.set_attribute("http.response.status_code", status_code)
        if error is not None or (status_code is not None and not 200 <= status_code < 300):
            _fail(self._span, error or str(status_code))
        self._span.end()


def _fail(span: Any, kind: str) -> None:  # noqa: ANN401 - the SDK's
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - see Tracing

    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def _place(span: Any) -> Trace:  # noqa: ANN401 - the SDK's
    context = span.get_span_context()
    return Trace(context.trace_id.to_bytes(16), context.span_id.to_bytes(8), sampled=True)


class _Sending:
    """The queue between those who make spans and the thread that sends them; a span processor."""

    def __init__(self, exporter: Any, *, metrics: Metrics) -> None:  # noqa: ANN401 - the SDK's
        self._exporter = exporter
        self._metrics = metrics
        self._waiting: queue.Queue[Any] = queue.Queue(_WAITING)
        self._closing = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ANN401 - the SDK's
        """Nothing yet."""

    def _on_ending(self, span: Any) -> None:  # noqa: ANN401 - the SDK's
        """Nothing yet."""

    def on_end(self, span: Any) -> None:  # noqa: ANN401 - the SDK's
        """Have it sent, if there is room."""
        try:
            self._waiting.put_nowait(span)
        except queue.Full:
            self._metrics.spans_dropped.inc()

    def shutdown(self) -> None:
        """See :meth:`close`."""

    def force_flush(self, timeout_millis: int = 0) -> bool:  # noqa: ARG002 - the SDK's
        """Nothing is waited for."""
        return True

    def close(self) -> None:
        """Send what waits, as far as the time goes."""
        self._closing.set()
        self._thread.join(_LAST_WORDS_S)
        self._exporter.shutdown()

    def _run(self) -> None:
        while not (self._closing.wait(0) and self._waiting.empty()):
            spans = self._gather()
            if spans:
                self._send(spans)

    def _gather(self) -> list[Any]:
        """What comes within a second, up to a batch; at the end what is there."""
        spans: list[Any] = []
        until = time.monotonic() + _EVERY_S
        while len(spans) < _AT_ONCE:
            left = 0.0 if self._closing.is_set() else until - time.monotonic()
            try:
                spans.append(
                    self._waiting.get(timeout=min(left, 0.1))
                    if left > 0
                    else self._waiting.get_nowait()
                )
            except queue.Empty:
                if left <= 0:
                    break
        return spans

    def _send(self, spans: list[Any]) -> None:
        try:
            sent = self._exporter.export(spans).name == "SUCCESS"
        except Exception:  # noqa: BLE001 - whatever it was, the service goes on
            sent = False
        (self._metrics.spans_sent if sent else self._metrics.spans_failed).inc(len(spans))
        if not sent and not self._failing:
            log.warning("traces cannot be sent", spans=len(spans))
        self._failing = not sent
