"""The benchmark with ``wrk`` as its loader, which is what its figures are made with."""

from __future__ import annotations

import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.cli.conftest import TRIGGERS, environment
from tests.external.conftest import Program

from triggers_api.bench.machine import Watch
from triggers_api.bench.wrk import find_wrk, run_wrk


def test_an_ingest_run_is_driven_by_wrk_and_every_event_is_accounted_for(
    program: Program, tmp_path: Path
) -> None:
    program("wrk")
    done = subprocess.run(
        [*TRIGGERS, "bench", "--profile", "ingest", "--seconds", "1", "--json"],
        env=environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        check=False,
        timeout=110,
    )
    report = json.loads(done.stdout)
    measured = report["ingest"]
    assert {each["loader"] for each in measured["slices"]} == {"wrk", "raw"}
    by_wrk = [each for each in measured["slices"] if each["loader"] == "wrk"]
    assert {each["what"] for each in by_wrk} >= {"echo", "ingest"}
    for each in by_wrk:
        assert each["answers"] > 100
        assert each["statuses"].get("≥400", 0) == each["lost"] == 0
        assert each["load"]["own"] > 0
    accounting = measured["accounting"]
    assert accounting["balanced"]
    assert accounting["missing"] == accounting["unexplained"] == 0
    assert accounting["sampled"] == accounting["found"] > 0
    assert list(tmp_path.iterdir()) == []


def test_it_sends_the_requests_in_turn_and_counts_the_answers(
    program: Program, tmp_path: Path
) -> None:
    program("wrk")
    wrk = find_wrk()
    assert wrk is not None
    bodies: list[bytes] = []

    class Echo(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            bodies.append(body)
            self.send_response(429 if body == b'"3"' else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    requests = [
        b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"%d"' % n for n in range(4)
    ]
    result = run_wrk(
        wrk,
        requests,
        url=f"http://127.0.0.1:{server.server_port}/",
        connections=1,
        seconds=3,
        folder=tmp_path,
        watch=Watch(None),
        progress=lambda _: None,
    )
    server.shutdown()
    server.server_close()
    assert set(bodies) == {b'"0"', b'"1"', b'"2"', b'"3"'}
    assert 0 <= len(bodies) - result.requests <= 1
    assert abs(result.refused - bodies.count(b'"3"')) <= 1
    assert result.lost == 0
