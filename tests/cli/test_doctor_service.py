"""What ``triggers doctor`` asks a running service: each question of the support checklist is a line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import msgspec
import pytest
from tests.cli.conftest import KEY, Ended, Serve, Serving, triggers
from tests.cli.test_doctor import findings
from tests.cli.test_operator import ADMIN_KEY, ask, level, own
from tests.servers.postgres import Postgres

from triggers_api.cli.service_findings import examine, look

SETTINGS: Final = {"TRIGGERS_QUEUE_WARN_DEPTH": "150"}

OF_EVERYBODY: Final = {"service", "queue", "stuck", "errors", "deliveries", "process", "switches"}
OF_OPERATORS: Final = OF_EVERYBODY | {"processes", "routing", "dead letters", "kept aside"}

Doctor = Callable[..., Ended]


@pytest.fixture
def doctor(serving: Serving, tmp_path: Path) -> Doctor:
    """Looks at a folder where nothing is, and at the service of this file."""

    def doctor(*arguments: str, **environ: str) -> Ended:
        known = {"TRIGGERS_PORT": "0", "TRIGGERS_URL": serving.url, "TRIGGERS_ADMIN_KEY": ADMIN_KEY}
        ended = triggers("doctor", *arguments, folder=tmp_path, **known | environ)
        assert ended.err == ""
        return ended

    return doctor


def of_service(ended: Ended) -> dict[str, tuple[str, str]]:
    """The lines from the service's own on."""
    lines = ended.out.splitlines(keepends=True)
    begin = next(number for number, line in enumerate(lines) if line[6:].startswith("service"))
    return findings(ended._replace(out="".join(lines[begin:])))


# ── a service that runs ───────────────────────────────────────────────────────────────────────────


def test_of_a_service_that_is_well_every_line_says_so(doctor: Doctor) -> None:
    ended = doctor()
    found = of_service(ended)
    assert ended.code == 0
    assert set(found) == OF_OPERATORS
    assert {line for line, (level, _) in found.items() if level != "ok"} == set()
    assert found["queue"][1].startswith("0 events wait to be routed (normal)")
    assert found["switches"] == ("ok", "every one is at its default")
    assert re.search(
        r"^1, of one version: \S+ \(api,processor,dispatcher\)$", found["processes"][1]
    )


def test_deep_also_counts_what_was_accepted(doctor: Doctor, serving: Serving) -> None:
    body = {"type": "order.created", "payload": 1}
    assert serving.call("POST", "/api/events", KEY, body)[0] == 202
    level_, text = of_service(doctor("--deep"))["books"]
    assert level_ == "ok"
    assert re.fullmatch(r"\d+ events, and nothing is missing", text)


@pytest.mark.parametrize(
    ("key", "said"), [("", None), ("no-key-of-any-operator", "401"), (KEY, "403")]
)
def test_without_an_operators_key_it_is_what_anybody_may_know(
    doctor: Doctor, key: str, said: str | None
) -> None:
    ended = doctor(TRIGGERS_ADMIN_KEY=key)
    found = of_service(ended)
    assert ended.code == 0
    more = set() if said is None else {"operator"}
    if said == "403":  # an organization's key may read the details
        more |= {"processes"}
    assert set(found) == OF_EVERYBODY | more
    if said is not None:
        assert found["operator"] == ("warn", f"no more is told to this key ({said})")


def test_a_queue_that_grows_is_to_watch_and_must_be_mended_when_it_is_deep(
    doctor: Doctor, serving: Serving
) -> None:
    batch = {"events": [{"type": "order.created", "payload": n} for n in range(101)]}
    ask(serving, "PATCH", "/controls", {"processing": "paused", "reason": "a wrong pattern"})
    try:
        for wanted, line, code in (("warning", "warn", 0), ("critical", "fail", 1)):
            assert serving.call("POST", "/api/events/batch", KEY, batch)[0] == 202
            level(serving, wanted)
            ended = doctor()
            found = of_service(ended)
            assert (ended.code, found["queue"][0]) == (code, line)
            assert f"({wanted})" in found["queue"][1]
            assert found["switches"][0] == "warn"
            assert re.search(
                r"processing is paused: since .*'a wrong pattern'", found["switches"][1]
            )
        assert of_service(doctor(TRIGGERS_ADMIN_KEY=""))["switches"] == ("warn", "off: processing")
    finally:
        ask(serving, "POST", "/process")
        ask(serving, "PATCH", "/controls", {"processing": None})
    level(serving, "normal")


def test_a_service_that_drains_is_to_watch(doctor: Doctor, serving: Serving) -> None:
    ask(serving, "POST", "/drain", {"reason": "upgrade"})
    try:
        ended = doctor()
        assert ended.code == 0
        assert of_service(ended)["service"] == (
            "warn",
            f"{serving.url}, 0.1.0: not ready: accepting is draining",
        )
    finally:
        ask(serving, "POST", "/undrain")


def test_what_an_organization_has_switched_is_told_with_its_name(
    doctor: Doctor, serving: Serving
) -> None:
    whose = own(serving)
    ask(serving, "PATCH", f"/controls?organization_id={whose}", {"delivery": "paused"})
    try:
        assert f"delivery of {whose} is paused" in of_service(doctor())["switches"][1]
    finally:
        ask(serving, "PATCH", f"/controls?organization_id={whose}", {"delivery": None})


def test_where_nobody_answers_is_said_and_no_fault(doctor: Doctor) -> None:
    ended = doctor(TRIGGERS_URL="http://127.0.0.1:9")
    assert ended.code == 0
    assert findings(ended)["service"] == ("warn", "none answers at http://127.0.0.1:9")


def test_a_service_on_the_port_of_the_settings_is_asked_by_itself(
    serve: Serve, tmp_path: Path
) -> None:
    serving = serve()
    port = serving.url.rpartition(":")[2]
    for host in ("127.0.0.1", "0.0.0.0"):
        ended = triggers("doctor", "--port", port, "--host", host, folder=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        assert findings(ended)["port"] == ("ok", f"{host}:{port} is the running service's")
        assert set(of_service(ended)) == OF_EVERYBODY


def test_processes_of_several_versions_are_told_apart(
    server_url: str, serve: Serve, postgres: Postgres, tmp_path: Path
) -> None:
    known = {"TRIGGERS_DATABASE_URL": server_url, "TRIGGERS_ADMIN_KEY": ADMIN_KEY}
    api = serve("--role", "api", **known)
    worker = serve(command="worker", **known)

    def doctor(url: str) -> dict[str, tuple[str, str]]:
        ended = triggers("doctor", "--port", "0", "--url", url, folder=tmp_path, **known)
        assert ended.err == ""
        return of_service(ended)

    found = doctor(api.url)
    assert set(found) == OF_OPERATORS | {"pool"}
    assert found["processes"][0] == "ok"
    assert found["processes"][1].startswith("2, of one version: ")
    assert re.fullmatch(r"\d+ of \d+ connections of the process are at work", found["pool"][1])

    of_worker = doctor(worker.url)
    assert set(of_worker) == OF_EVERYBODY | {"pool", "processes", "operator"}
    assert of_worker["operator"] == ("ok", "no more is told to this key (404)")

    name = server_url.rpartition("/")[2]
    ((body,),) = postgres.execute("SELECT body FROM workers ORDER BY number LIMIT 1", database=name)
    other = msgspec.json.decode(bytes(body)) | {"id": "old-1", "version": "0.0.9"}
    postgres.execute(
        "INSERT INTO workers SELECT max(number) + 1, 'old-1', "
        f"decode('{json.dumps(other).encode().hex()}', 'hex'), max(seen_at) + 60000 FROM workers",
        database=name,
    )
    line, text = doctor(api.url)["processes"]
    assert line == "warn"
    assert text.startswith("of several versions: ")
    assert "old-1 is 0.0.9" in text


# ── a service that is not well ────────────────────────────────────────────────────────────────────

READY: Final[dict[str, Any]] = {
    "status": "ready",
    "checks": {"store": "ok", "accepting": "ok"},
    "queue": {
        "depth": 0, "warn_depth": 1000, "level": "normal", "stuck": 0, "oldest_age_s": 0.0,
        "refusing": None, "drain_rate": 0.0,
    },
}  # fmt: skip
METRICS: Final = {
    'triggers_build_info{version="0.1.0"}': 1,
    "process_start_time_seconds": 1,
    "process_open_fds": 10,
    "process_max_fds": 100,
    'triggers_event_loop_lag_seconds_bucket{le="0.25"}': 100,
    "triggers_event_loop_lag_seconds_count": 100,
}
COUNTED: Final = {"count": 0, "complete": True}
MINUTE: Final = {"accepted": 0, "routed": 0}
ANSWERS: Final[dict[str, Any]] = {
    "/api/health/detailed": {"workers": [{"id": "a", "roles": "api", "version": "0.1.0"}]},
    "/api/admin/switches": {"data": []},
    "/api/admin/stats": {
        "series": [MINUTE, MINUTE],
        "total": {"deliveries": {"dead": 0}},
        "now": {"dead": COUNTED, "failed": COUNTED, "quarantined": COUNTED},
    },
    "/api/admin/verify": {
        "ok": True, "organizations": [], "checks": [], "stuck": 0, "integrity": None,
    },
}  # fmt: skip


class Pretended:
    """What answers as a service does in which something is wrong."""

    def __init__(self) -> None:
        self.ready = json.loads(json.dumps(READY))
        self.metrics: dict[str, float] = dict(METRICS)
        self.answers = json.loads(json.dumps(ANSWERS))
        pretended = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = pretended.answer(self.path)
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str) -> tuple[int, bytes]:
        if path == "/metrics":
            lines = [f"{name} {value}\n" for name, value in self.metrics.items()]
            return 200, "".join(lines).encode()
        if path == "/readyz":
            status = 200 if self.ready["status"] != "not-ready" else 503
            return status, json.dumps(self.ready).encode()
        return 200, json.dumps(self.answers[path]).encode()

    def look(self) -> dict[str, tuple[str, str]]:
        seen = look(self.url)
        assert seen is not None
        return {
            each.about: (each.level, each.text)
            for each in examine(seen, "a-key-of-the-operator", deep=True)
        }

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def pretended() -> Iterator[Pretended]:
    pretended = Pretended()
    yield pretended
    pretended.close()


def test_what_is_well_is_ok(pretended: Pretended) -> None:
    assert {level for level, _ in pretended.look().values()} == {"ok"}


@pytest.mark.parametrize(
    ("checks", "status", "line", "text"),
    [
        ({"store": "storage-full"}, "not-ready", "fail", "not ready: store is storage-full"),
        ({"disk": "storage-full"}, "not-ready", "fail", "not ready: disk is storage-full"),
        ({"jobs": "failing"}, "not-ready", "fail", "not ready: jobs is failing"),
        ({"workers": "lost"}, "degraded", "warn", "0.1.0: workers is lost"),
    ],
)
def test_a_check_of_readiness_that_fails_is_told(
    pretended: Pretended, checks: dict[str, str], status: str, line: str, text: str
) -> None:
    pretended.ready["checks"] |= checks
    pretended.ready["status"] = status
    level, said = pretended.look()["service"]
    assert (level, said.endswith(text)) == (line, True), said


@pytest.mark.parametrize(
    ("queue", "about", "line", "text"),
    [
        ({"stuck": 3}, "stuck", "warn", "3 events are held by leases that ran out"),
        ({"refusing": "depth"}, "queue", "fail", "events are refused (depth)"),
        ({"level": "warning", "depth": 500}, "queue", "warn", "500 events wait"),
        ({"level": "critical", "depth": 1500}, "queue", "fail", "1500 events wait"),
    ],
)
def test_what_is_wrong_with_the_queue_is_told(
    pretended: Pretended, queue: dict[str, Any], about: str, line: str, text: str
) -> None:
    pretended.ready["queue"] |= queue
    level, said = pretended.look()[about]
    assert (level, text in said) == (line, True), said


@pytest.mark.parametrize(
    ("metrics", "about", "line", "text"),
    [
        ({'triggers_store_errors_total{code="storage-full"}': 2}, "errors", "warn", "2 transac"),
        ({'triggers_loop_crashes_total{loop="jobs"}': 4}, "errors", "warn", "4 times a part"),
        ({"triggers_buffer_data_loss_total": 1}, "errors", "fail", "1 accepted events vanished"),
        (
            {
                "triggers_database_connections_limit": 30,
                'triggers_database_connections{state="in_use"}': 30,
            },
            "pool",
            "warn",
            "30 of 30",
        ),
        ({"triggers_breakers_open": 2}, "deliveries", "warn", "2 of them left alone"),
        ({"triggers_keys_expiring": 1}, "keys", "warn", "1 expire within seven days"),
        ({"process_open_fds": 81}, "process", "warn", "81 of 100 descriptors"),
        (
            {'triggers_event_loop_lag_seconds_bucket{le="0.25"}': 90},
            "process",
            "warn",
            "10% of its turns are more than 0.25 s late",
        ),
    ],
)
def test_what_the_metrics_say_is_told(
    pretended: Pretended, metrics: dict[str, float], about: str, line: str, text: str
) -> None:
    pretended.metrics |= metrics
    level, said = pretended.look()[about]
    assert (level, text in said) == (line, True), said


def test_a_turn_that_was_late_at_the_start_is_no_lack_of_processor_time(
    pretended: Pretended,
) -> None:
    pretended.metrics |= {
        'triggers_event_loop_lag_seconds_bucket{le="0.25"}': 3,
        "triggers_event_loop_lag_seconds_count": 5,
    }
    level, text = pretended.look()["process"]
    assert (level, "late" in text) == ("ok", False)


def test_fewer_routed_than_come_in_are_told_while_some_wait(pretended: Pretended) -> None:
    statistics = pretended.answers["/api/admin/stats"]
    statistics["series"] = [{"accepted": 600, "routed": 100}, MINUTE]
    assert pretended.look()["routing"][0] == "ok", "what came late in the minute is routed by now"
    pretended.ready["queue"]["depth"] = 500
    assert pretended.look()["routing"] == (
        "warn",
        "600 events accepted in the last whole minute, 100 routed: it falls behind",
    )


def test_dead_letters_of_the_last_hour_and_what_could_not_be_routed_are_told(
    pretended: Pretended,
) -> None:
    statistics = pretended.answers["/api/admin/stats"]
    statistics["now"]["dead"] = {"count": 10_000, "complete": False}
    assert pretended.look()["dead letters"] == ("ok", "more than 10000 kept, 0 of the last hour")
    statistics["total"]["deliveries"]["dead"] = 3
    statistics["now"]["failed"] = {"count": 1, "complete": True}
    found = pretended.look()
    assert found["dead letters"] == ("warn", "more than 10000 kept, 3 of the last hour")
    assert found["kept aside"][0] == "warn"


def test_books_that_do_not_balance_must_be_mended(pretended: Pretended) -> None:
    pretended.answers["/api/admin/verify"] |= {
        "ok": False,
        "checks": [
            {
                "check": "events_not_queued", "found": 1, "more": False, "harmless": False,
                "meaning": "accepted, and waiting for nothing", "examples": ["evt_1"],
            }
        ],
    }  # fmt: skip
    level, text = pretended.look()["books"]
    assert level == "fail"
    assert text == "events_not_queued: 1 accepted, and waiting for nothing; evt_1"


def test_what_is_no_service_of_ours_is_none(pretended: Pretended) -> None:
    pretended.ready = {"status": "ready"}
    assert look(pretended.url) is None
