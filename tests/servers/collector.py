"""A collector of traces: OTLP over HTTP, on a real socket, protobuf decoded."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_PATIENCE_S = 60.0


class Span(NamedTuple):
    """One span as it came in."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    attributes: dict[str, Any]
    took_ns: int
    failed: bool


class Collector:
    """Use it with ``with``."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.service: dict[str, Any] = {}
        self.raw = b""
        """Everything that came in, as it came."""
        self.requests = 0
        self.status = 200
        self._news = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                status = collector._take(self.path, body)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Not to the screen."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, path: str, body: bytes) -> int:
        with self._news:
            self.requests += 1
            if self.status == 200:
                assert path == "/v1/traces"
                self.raw += body
                self._decode(body)
            self._news.notify_all()
            return self.status

    def _decode(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.service |= _attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [
                    Span(
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.name,
                        span.kind,
                        _attributes(span.attributes),
                        span.end_time_unix_nano - span.start_time_unix_nano,
                        span.status.code == 2,
                    )
                    for span in scope.spans
                ]

    def wait_for(self, spans: int = 0, *, requests: int = 0) -> None:
        """Until so many spans or requests have come in."""
        with self._news:
            assert self._news.wait_for(
                lambda: len(self.spans) >= spans and self.requests >= requests, _PATIENCE_S
            ), (self.spans, self.requests)

    def named(self, name: str) -> list[Span]:
        """The spans with a name."""
        return [span for span in self.spans if span.name == name]


def _attributes(given: Any) -> dict[str, Any]:  # noqa: ANN401 - protobuf's
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in given}
