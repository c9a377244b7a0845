"""The main checks of the founding documents (docs/seed-tests.md) against any server that runs.

    python tests/smoke.py --url http://127.0.0.1:8000 --key KEY [--admin-key KEY]

It needs Python 3.11 and nothing else, not even this project. One line for each check: ``ok``, ``FAIL``
with the reason, or ``skip`` with what is missing. The exit code is 0 if no check failed, 1 if one did, 2
if the command line makes no sense.

The server must be allowed to deliver to this machine (``TRIGGERS_ALLOW_CIDRS``); where it is not, checks
of deliveries are skipped. Checks of switches and limits take an operator's key. They turn switches for a
moment, for everybody on that server, and put them back. What the run makes it deletes: events,
subscriptions, and an organization.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import http.client
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote, urlsplit

WITHIN_S: Final = 15.0
"""Seconds that anything awaited gets."""

CALLERS: Final = 16
"""Requests at once, where a check is about many."""

EXACT: Final = b'{"big":12345678901234567890123,"twice":1,"twice":2,"zero":"\\u0000","float":1e400}'
"""A payload that does not survive being decoded and encoded again."""


class Failed(Exception):
    """A check did not find what it should."""


class Skipped(Exception):
    """A check could not be made; the message says what is missing."""


def expect(holds: object, otherwise: str) -> None:
    """Fail unless it holds."""
    if not holds:
        raise Failed(otherwise)


class Answer(NamedTuple):
    """What the server answered. ``headers`` are by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever was answered
        return json.loads(self.body)

    def must_be(self, *statuses: int) -> Self:
        """This answer, if it has one of these statuses."""
        if self.status not in statuses:
            wanted = " or ".join(map(str, statuses))
            raise Failed(f"{self.status} instead of {wanted}: {self.body[:300].decode()}")
        return self

    def must_be_problem(self, status: int, code: str) -> None:
        """It is a refusal in the one shape of all refusals."""
        self.must_be(status)
        kind = self.headers.get("content-type")
        expect(kind == "application/problem+json", f"content-type of a refusal is {kind}")
        expect(self.json["code"] == code, f"code {self.json['code']} instead of {code}")
        expect(self.json["status"] == status, "the status inside is another one")


class Received(NamedTuple):
    """A webhook that came. ``headers`` are by lower-case name."""

    headers: dict[str, str]
    body: bytes

    def verify(self, secret: str) -> None:
        """Check the signature by hand (Standard Webhooks, "Signature scheme")."""
        stamp, identifier = self.headers["webhook-timestamp"], self.headers["webhook-id"]
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{identifier}.{stamp}.".encode() + self.body
        digest = hmac.new(key, signed, hashlib.sha256).digest()
        wanted = f"v1,{base64.b64encode(digest).decode()}"
        given = self.headers["webhook-signature"].split(" ")
        expect(any(hmac.compare_digest(wanted, each) for each in given), "the signature is wrong")
        expect(abs(time.time() - int(stamp)) < 300, "the signature's time is not now")


class Receiver:
    """An endpoint on this machine; every path is one of its own, and answers 204 if not told else."""

    def __init__(self, host: str) -> None:
        self._came = Condition()
        self._requests: dict[str, list[Received]] = {}
        self._replies: dict[str, list[int]] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(receiver._note(self.path, Received(headers, body)))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
                pass

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _note(self, path: str, request: Received) -> int:
        with self._came:
            self._requests.setdefault(path, []).append(request)
            self._came.notify_all()
            replies = self._replies.get(path)
            return replies.pop(0) if replies else 204

    def replies(self, path: str, *statuses: int) -> None:
        """Answer the next requests to a path like this."""
        self._replies[path] = list(statuses)

    def had(self, path: str) -> list[Received]:
        """What came to a path so far."""
        with self._came:
            return list(self._requests.get(path, ()))

    def wait_for(self, path: str, count: int) -> list[Received]:
        """What came to a path, once it is so much."""
        with self._came:
            enough = self._came.wait_for(
                lambda: len(self._requests.get(path, ())) >= count, WITHIN_S
            )
        expect(enough, f"{len(self.had(path))} of {count} webhooks came within {WITHIN_S:g} s")
        return self.had(path)


class Subscription(NamedTuple):
    """One that the run made."""

    id: str
    secret: str
    path: str


class Run:
    """One run against one server."""

    def __init__(self, url: str, key: str, admin_key: str | None, receiver: Receiver) -> None:
        self._url = urlsplit(url)
        self.key = key
        self._admin_key = admin_key
        self.receiver = receiver
        self.prefix = f"smoke.{secrets.token_hex(6)}"
        self._at_the_end = ExitStack()
        self._sent: list[str] = []
        self._subscribed: set[str] = set()

    def clean_up(self) -> None:
        """Delete what was made."""
        self._at_the_end.close()
        for event_id in self._sent:
            self.call("DELETE", f"/api/events/{event_id}")

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = "",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request; bytes go as they are, everything else as JSON."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if key is not None:
            sent["Authorization"] = f"Bearer {key or self.key}"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        secure = self._url.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._url.hostname or "", self._url.port, timeout=30)
        try:
            target = self._url.path.rstrip("/") + path
            connection.request(method, target, data, sent | (headers or {}))
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())
        finally:
            connection.close()

    def admin(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """An operator's request that must succeed; the decoded answer."""
        if self._admin_key is None:
            raise Skipped("takes an operator's key, --admin-key")
        answer = self.call(method, f"/api/admin{path}", body, key=self._admin_key)
        answer.must_be(200, 201, 204)
        return answer.json if answer.body else None

    def post(self, name: str, payload: object = None, **fields: object) -> Answer:
        """Ask for an event to be stored, whatever comes of it."""
        return self.call(
            "POST", "/api/events", {"type": f"{self.prefix}.{name}", "payload": payload, **fields}
        )

    def send(self, name: str, payload: object = None, **fields: object) -> str:
        """The id of a new event."""
        answer = self.post(name, payload, **fields).must_be(201, 202)
        return self.will_delete(answer.json["id"])

    def will_delete(self, event_id: str) -> str:
        """The same id, remembered for the end."""
        self._sent.append(event_id)
        return event_id

    def event(self, event_id: str) -> Any:  # noqa: ANN401 - JSON
        return self.call("GET", f"/api/events/{event_id}").must_be(200).json

    def list(self, name: str, **filters: str) -> list[Any]:
        """Rows of a list."""
        query = "&".join(f"{name}={quote(value)}" for name, value in filters.items())
        rows: list[Any] = (
            self.call("GET", f"/api/{name}?limit=1000&{query}").must_be(200).json["data"]
        )
        return rows

    def until(self, look: Callable[[], Any], wanted: object) -> None:
        """Look again and again until there is what is wanted."""
        deadline = time.monotonic() + WITHIN_S
        while (found := look()) != wanted:
            expect(time.monotonic() < deadline, f"{found}, not {wanted} within {WITHIN_S:g} s")
            time.sleep(0.05)

    def until_event(self, event_id: str, status: str) -> None:
        self.until(lambda: self.event(event_id)["status"], status)

    def delivery(self, event_id: str, status: str) -> Any:  # noqa: ANN401 - JSON
        """An event's delivery to a subscription of this run, with its attempts, once it stands so."""

        def ours() -> list[Any]:
            found = self.event(event_id)["deliveries"]
            return [each for each in found if each["subscription_id"] in self._subscribed]

        self.until(lambda: [each["status"] for each in ours()], [status])
        (one,) = ours()
        return self.call("GET", f"/api/deliveries/{one['id']}").must_be(200).json

    def subscribe(self, name: str, **fields: object) -> Subscription:
        """A subscription of this machine to the events of a name."""
        path = f"/{self.prefix}/{name}"
        wanted = {"url": self.receiver.url + path, "event_types": [f"{self.prefix}.{name}"]}
        answer = self.call("POST", "/api/subscriptions", wanted | fields)
        if answer.status == 422 and b"blocked-address" in answer.body:
            raise Skipped(
                f"the server may not deliver to {self.receiver.url}: TRIGGERS_ALLOW_CIDRS"
            )
        made = answer.must_be(201).json
        self._subscribed.add(made["id"])
        self._at_the_end.callback(self.call, "DELETE", f"/api/subscriptions/{made['id']}")
        return Subscription(made["id"], made["secret"], path)

    @contextmanager
    def turned(self, **switches: str) -> Iterator[None]:
        """Switches turned for a while, and put back."""
        before = self.admin("GET", "/controls")
        if forced := (before["forced_by"] or {}).keys() & switches.keys():
            raise Skipped(f"forced from the environment: {', '.join(sorted(forced))}")
        self.admin("PATCH", "/controls", {**switches, "reason": "smoke test"})
        try:
            yield
        finally:
            back = {name: before[name] for name in (*switches, "reason")}
            self.admin("PATCH", "/controls", back)


# ── what anybody may ask ──────────────────────────────────────────────────────────────────────────


def health_says_so_in_the_words_of_the_seeds(run: Run) -> None:
    wanted = {"status": "healthy", "service": "Triggers API"}
    for path in ("/health", "/api/health", "/livez"):
        expect(
            run.call("GET", path, key=None).must_be(200).json == wanted, f"{path} says otherwise"
        )


def readiness_shows_the_queue(run: Run) -> None:
    for path in ("/readyz", "/health/ready"):
        shown = run.call("GET", path, key=None).must_be(200).json
        expect(shown["status"] == "ready", f"{path}: {shown['status']}")
        expect(
            set(shown["queue"]) >= {"depth", "level", "stuck", "oldest_age_s"}, "fields are missing"
        )


def health_in_detail_has_the_keys_of_the_seeds(run: Run) -> None:
    shown = run.call("GET", "/api/health/detailed").must_be(200).json
    expect(shown["status"] == shown["database"] == "healthy", f"it is {shown['status']}")
    wanted = {
        "event_queue_length", "webhook_queue_length", "event_pending_processing",
        "webhook_pending_processing",
    }  # fmt: skip
    expect(set(shown["queues"]) == wanted, f"queues: {sorted(shown['queues'])}")
    wanted = {"max_concurrent_events", "redis_stream_max_length"}
    expect(shown["config"].keys() >= wanted, f"config: {sorted(shown['config'])}")


def metrics_are_shown(run: Run) -> None:
    text = run.call("GET", "/metrics", key=None).must_be(200).body.decode()
    samples = [line for line in text.splitlines() if line and not line.startswith("#")]
    expect(all(float(line.rpartition(" ")[2]) >= 0 for line in samples), "a sample is no number")
    for name in (
        "triggers_ingest_seconds_bucket",
        "triggers_queue_depth",
        "triggers_duplicates_total",
    ):
        expect(any(line.startswith(name) for line in samples), f"{name} is missing")


def the_api_describes_itself(run: Run) -> None:
    document = run.call("GET", "/openapi.json", key=None).must_be(200).json
    expect(document["openapi"].startswith("3.1"), "it is not OpenAPI 3.1")
    expect("/api/events" in document["paths"], "/api/events is not in it")
    run.call("GET", "/docs", key=None).must_be(200)


def without_a_valid_key_nothing_is_done(run: Run) -> None:
    for key in (None, "trg_a_key_that_nobody_was_ever_given"):
        for method, body in (("GET", None), ("POST", {"type": "smoke", "payload": 1})):
            answer = run.call(method, "/api/events", body, key=key)
            answer.must_be_problem(401, "unauthorized")
            expect(
                answer.headers.get("www-authenticate") == "Bearer", "WWW-Authenticate is missing"
            )


# ── an event comes in ─────────────────────────────────────────────────────────────────────────────


def an_event_is_accepted(run: Run) -> None:
    answer = run.post("accepted", {"id": 42}, dedup_id=f"{run.prefix}-accepted").must_be(201, 202)
    event_id = run.will_delete(answer.json["id"])
    expect(answer.json["duplicate"] is False, "it is called a duplicate")
    expect(answer.headers.get("location") == f"/api/events/{event_id}", "Location leads elsewhere")
    expect("x-request-id" in answer.headers, "X-Request-Id is missing")
    expect("store;dur=" in answer.headers.get("server-timing", ""), "Server-Timing is missing")


def an_answer_says_what_is_left_of_the_limit(run: Run) -> None:
    answer = run.post("limit").must_be(201, 202)
    run.will_delete(answer.json["id"])
    if "ratelimit" not in answer.headers:
        raise Skipped("the organization has no limit")
    expect(answer.headers["ratelimit-policy"].startswith('"ingest";q='), "RateLimit-Policy is odd")
    expect(answer.headers["ratelimit"].startswith('"ingest";r='), "RateLimit is odd")


def an_event_is_found_at_once_and_byte_for_byte(run: Run) -> None:
    dedup_id = f"consistency-{secrets.token_hex(4)}"
    name = f"{run.prefix}.found"
    body = b'{"type":"%b","dedup_id":"%b","payload":%b}' % (name.encode(), dedup_id.encode(), EXACT)
    answer = run.call("POST", "/api/events", body).must_be(201, 202)
    event_id = run.will_delete(answer.json["id"])
    by_id = run.call("GET", f"/api/events/{event_id}").must_be(200)
    expect(EXACT in by_id.body, "the payload came back with other bytes")
    for filters in ({"dedup_id": dedup_id}, {"type": name}, {"type": f"{run.prefix}.f*"}):
        found = [each["id"] for each in run.list("events", **filters)]
        expect(found == [event_id], f"{filters} finds {found}")
    expect(
        run.list("events", type=f"{run.prefix}.nothing") == [], "a filter finds what it should not"
    )


def an_event_sent_twice_is_stored_once(run: Run) -> None:
    first = run.send("twice", {"id": 1}, dedup_id=f"{run.prefix}-twice")
    for payload, same in (({"id": 1}, True), ({"id": 2}, False)):
        answer = run.post("twice", payload, dedup_id=f"{run.prefix}-twice").must_be(200).json
        expect(answer["id"] == first, "the duplicate has another id")
        expect(answer["duplicate"] is True, "it is not called a duplicate")
        expect(answer["message"] == "Event already exists (idempotent)", answer["message"])
        expect(answer["payload_matches"] is same, f"payload_matches is not {same}")
    spelled = {"event_type": f"{run.prefix}.twice", "data": 1, "event_id": f"{run.prefix}-twice"}
    answer = run.call("POST", "/api/events", spelled).must_be(200).json
    expect(answer["id"] == first, "event_id is not taken for a dedup_id")
    expect(len(run.list("events", type=f"{run.prefix}.twice")) == 1, "it was stored again")


def of_simultaneous_twins_one_is_stored(run: Run) -> None:
    with ThreadPoolExecutor(CALLERS) as pool:
        twins = [
            pool.submit(run.post, "twins", 1, dedup_id=f"{run.prefix}-twins") for _ in range(64)
        ]
        answers = [twin.result().must_be(200, 201, 202) for twin in twins]
    run.will_delete(answers[0].json["id"])
    expect(len({answer.json["id"] for answer in answers}) == 1, "twins have several ids")
    accepted = sum(answer.status != 200 for answer in answers)
    expect(accepted == 1, f"{accepted} of 64 were accepted")


def what_is_no_event_is_refused_and_says_why(run: Run) -> None:
    run.call("POST", "/api/events", b"{").must_be_problem(400, "invalid-json")
    plain = run.call("POST", "/api/events", b"{}", headers={"Content-Type": "text/plain"})
    plain.must_be_problem(415, "unsupported-media-type")
    refused = run.call("POST", "/api/events", {"payload": 1})
    refused.must_be_problem(422, "validation-failed")
    places = [error["pointer"] for error in refused.json["errors"]]
    expect(places == ["/type"], f"the fault is said to be at {places}")
    run.call("GET", "/api/events/evt_nothing").must_be_problem(404, "not-found")


def one_bad_item_of_a_batch_does_not_cost_the_others(run: Run) -> None:
    items: list[object] = [{"type": f"{run.prefix}.batch", "payload": n} for n in range(9)]
    answer = run.call("POST", "/api/events/batch", {"events": [*items, {"payload": "no type"}]})
    counts = answer.must_be(201, 202).json
    for result in counts["results"]:
        if "id" in result:
            run.will_delete(result["id"])
    expect((counts["accepted"], counts["rejected"]) == (9, 1), f"{counts}")
    expect(len(run.list("events", type=f"{run.prefix}.batch")) == 9, "not all nine are there")


def an_event_that_nobody_wants_is_processed(run: Run) -> None:
    event_id = run.send("unwanted")
    run.until_event(event_id, "processed")


def a_deleted_event_is_gone_and_its_dedup_id_free(run: Run) -> None:
    first = run.send("deleted", dedup_id=f"{run.prefix}-deleted")
    run.call("DELETE", f"/api/events/{first}").must_be(204)
    run.call("GET", f"/api/events/{first}").must_be_problem(404, "not-found")
    expect(run.send("deleted", dedup_id=f"{run.prefix}-deleted") != first, "it is back")


# ── and goes out ──────────────────────────────────────────────────────────────────────────────────


def an_event_is_delivered_and_signed(run: Run) -> None:
    subscription = run.subscribe("delivered")
    event_id = run.send("delivered", {"name": "Zoë"})
    (request,) = run.receiver.wait_for(subscription.path, 1)
    request.verify(subscription.secret)
    expect(request.headers["webhook-id"] == event_id, "webhook-id is not the event's id")
    body = json.loads(request.body)
    expect(body["type"] == f"{run.prefix}.delivered", f"type {body['type']}")
    expect(body["data"] == {"name": "Zoë"}, f"data {body['data']}")
    delivery = run.delivery(event_id, "succeeded")
    (attempt,) = delivery["attempts"]
    expect((attempt["number"], attempt["status_code"]) == (1, 204), f"on file is {attempt}")
    expect(run.event(event_id)["status"] == "processed", "the event is not processed")


def a_payload_arrives_byte_for_byte(run: Run) -> None:
    subscription = run.subscribe("exact", payload_format="raw")
    body = b'{"type":"%b.exact","payload":%b}' % (run.prefix.encode(), EXACT)
    run.will_delete(run.call("POST", "/api/events", body).must_be(201, 202).json["id"])
    (request,) = run.receiver.wait_for(subscription.path, 1)
    expect(request.body == EXACT, "the bytes are others")
    request.verify(subscription.secret)


def what_fails_is_tried_again(run: Run) -> None:
    subscription = run.subscribe("retried", retry_schedule=[0.2, 0.2])
    run.receiver.replies(subscription.path, 500, 500)
    event_id = run.send("retried")
    requests = run.receiver.wait_for(subscription.path, 3)
    for number, request in enumerate(requests, 1):
        request.verify(subscription.secret)
        expect(request.headers["webhook-id"] == event_id, "webhook-id changes between attempts")
        expect(request.headers["x-triggers-attempt"] == str(number), "attempts are misnumbered")
    attempts = run.delivery(event_id, "succeeded")["attempts"]
    expect([a["status_code"] for a in attempts] == [500, 500, 204], "attempts are not on file")


def what_keeps_failing_is_a_dead_letter_until_it_is_retried(run: Run) -> None:
    subscription = run.subscribe("dead", retry_schedule=[])
    run.receiver.replies(subscription.path, 500)
    event_id = run.send("dead")
    dead = run.delivery(event_id, "dead")
    expect("500" in dead["reason"], f"the reason is {dead['reason']!r}")
    letters = [each["id"] for each in run.list("dead-letters")]
    expect(dead["id"] in letters, "it is not among the dead letters")
    run.call("POST", f"/api/deliveries/{dead['id']}/retry").must_be(202)
    expect(run.delivery(event_id, "succeeded")["attempt_count"] == 2, "attempts are miscounted")


def a_paused_subscription_waits(run: Run) -> None:
    subscription = run.subscribe("paused")
    run.call("POST", f"/api/subscriptions/{subscription.id}/pause").must_be(200)
    event_id = run.send("paused")
    run.until_event(event_id, "processed")
    run.delivery(event_id, "pending")
    expect(run.receiver.had(subscription.path) == [], "it was sent all the same")
    run.call("POST", f"/api/subscriptions/{subscription.id}/resume").must_be(200)
    run.receiver.wait_for(subscription.path, 1)


# ── what an operator may do ───────────────────────────────────────────────────────────────────────


def with_processing_paused_events_are_kept_and_routed_later(run: Run) -> None:
    with run.turned(processing="paused", ingest="async"):
        events = [run.send("held", number) for number in range(20)]
        expect({run.event(each)["status"] for each in events} == {"queued"}, "some were routed")
        run.call("GET", "/readyz", key=None).must_be(200)
    for each in events:
        run.until_event(each, "processed")


def in_sync_mode_routing_is_stored_before_the_answer(run: Run) -> None:
    with run.turned(ingest="sync"):
        answer = run.post("sync").must_be(201)
        run.will_delete(answer.json["id"])
        expect(answer.json["status"] == "processed", f"it is {answer.json['status']}")
    run.send("sync")


def in_refuse_mode_nothing_is_taken(run: Run) -> None:
    with run.turned(ingest="refuse"):
        answer = run.post("refused")
        answer.must_be_problem(503, "refusing")
        expect("retry-after" in answer.headers, "Retry-After is missing")
    expect(run.list("events", type=f"{run.prefix}.refused") == [], "it was stored")


def with_delivery_off_what_is_skipped_is_not_failed(run: Run) -> None:
    subscription = run.subscribe("skipped")
    with run.turned(delivery="skip"):
        event_id = run.send("skipped")
        skipped = run.delivery(event_id, "skipped")
    expect(skipped["reason"] and skipped["attempts"] == [], "reason or attempts are wrong")
    expect(run.receiver.had(subscription.path) == [], "it was sent all the same")


def of_150_events_a_limit_of_100_lets_100_through(run: Run) -> None:
    with another_organization(run, rate_limit=100, rate_burst=100) as key:

        def post(number: int) -> Answer:
            body = {"type": "smoke.limited", "payload": number}
            return run.call("POST", "/api/events", body, key=key)

        began = time.monotonic()
        with ThreadPoolExecutor(CALLERS) as pool:
            answers = list(pool.map(post, range(150)))
        refilled = (time.monotonic() - began) * 100 / 60
        accepted = sum(answer.must_be(201, 202, 429).status != 429 for answer in answers)
        expect(100 <= accepted <= 100 + refilled + 1, f"{accepted} were accepted")
        expect(
            all("retry-after" in each.headers for each in answers if each.status == 429),
            "Retry-After is missing",
        )
        stored = run.call("GET", "/api/events?limit=1000", key=key).must_be(200).json["data"]
        expect(len(stored) == accepted, f"{accepted} were accepted and {len(stored)} stored")


def organizations_see_nothing_of_each_other(run: Run) -> None:
    event_id = run.send("own", dedup_id=f"{run.prefix}-own")
    with another_organization(run) as key:
        for method in ("GET", "DELETE"):
            answer = run.call(method, f"/api/events/{event_id}", key=key)
            answer.must_be_problem(404, "not-found")
        listed = run.call("GET", "/api/events", key=key).must_be(200).json["data"]
        expect(listed == [], "it sees events of others")
        body = {"type": "smoke.own", "payload": 1, "dedup_id": f"{run.prefix}-own"}
        run.call("POST", "/api/events", body, key=key).must_be(201, 202)
    expect(run.event(event_id)["id"] == event_id, "the event is gone")


def the_books_balance(run: Run) -> None:
    expect(run.admin("GET", "/verify")["ok"] is True, "what was accepted is not what is there")


@contextmanager
def another_organization(run: Run, **limits: int) -> Iterator[str]:
    """The key of an organization that is there for a while."""
    made = run.admin("POST", "/organizations", {"name": run.prefix, **limits})
    try:
        yield made["api_key"]
    finally:
        run.admin("DELETE", f"/organizations/{made['id']}")


CHECKS: Final[tuple[Callable[[Run], None], ...]] = (
    health_says_so_in_the_words_of_the_seeds,
    readiness_shows_the_queue,
    health_in_detail_has_the_keys_of_the_seeds,
    metrics_are_shown,
    the_api_describes_itself,
    without_a_valid_key_nothing_is_done,
    an_event_is_accepted,
    an_answer_says_what_is_left_of_the_limit,
    an_event_is_found_at_once_and_byte_for_byte,
    an_event_sent_twice_is_stored_once,
    of_simultaneous_twins_one_is_stored,
    what_is_no_event_is_refused_and_says_why,
    one_bad_item_of_a_batch_does_not_cost_the_others,
    an_event_that_nobody_wants_is_processed,
    a_deleted_event_is_gone_and_its_dedup_id_free,
    an_event_is_delivered_and_signed,
    a_payload_arrives_byte_for_byte,
    what_fails_is_tried_again,
    what_keeps_failing_is_a_dead_letter_until_it_is_retried,
    a_paused_subscription_waits,
    with_processing_paused_events_are_kept_and_routed_later,
    in_sync_mode_routing_is_stored_before_the_answer,
    in_refuse_mode_nothing_is_taken,
    with_delivery_off_what_is_skipped_is_not_failed,
    of_150_events_a_limit_of_100_lets_100_through,
    organizations_see_nothing_of_each_other,
    the_books_balance,
)


def verdict(check: Callable[[Run], None], run: Run) -> tuple[str, str]:
    """``ok``, ``skip`` or ``FAIL``, and why."""
    try:
        check(run)
    except Skipped as missing:
        return "skip", str(missing)
    except (Failed, OSError, http.client.HTTPException) as failure:
        return "FAIL", str(failure) or type(failure).__name__
    except (KeyError, TypeError, ValueError) as failure:
        return "FAIL", f"an answer has not the form it should: {failure!r}"
    return "ok", ""


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0], allow_abbrev=False
    )
    given = os.environ.get
    url = given("TRIGGERS_URL", "http://127.0.0.1:8000")
    parser.add_argument("--url", default=url, help="the server [env: TRIGGERS_URL]")
    parser.add_argument(
        "--key", default=given("TRIGGERS_API_KEY"), help="an API key [env: TRIGGERS_API_KEY]"
    )
    parser.add_argument(
        "--admin-key",
        default=given("TRIGGERS_ADMIN_KEY"),
        help="an operator's key [env: TRIGGERS_ADMIN_KEY]",
    )
    parser.add_argument(
        "--receiver",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="of this machine, as the server reaches it",
    )
    options = parser.parse_args()
    if not options.key:
        parser.error("a key is needed: --key, or TRIGGERS_API_KEY")
    if urlsplit(options.url).scheme not in {"http", "https"}:
        parser.error(f"--url {options.url}: is not http://… or https://…")
    counts = {"ok": 0, "skip": 0, "FAIL": 0}
    with Receiver(options.receiver) as receiver:
        run = Run(options.url, options.key, options.admin_key, receiver)
        for check in CHECKS:
            result, why = verdict(check, run)
            counts[result] += 1
            name = check.__name__.replace("_", " ")
            sys.stdout.write(f"{result:4}  {name}{why and ': '}{why}\n")
            sys.stdout.flush()
        result, why = verdict(Run.clean_up, run)
        if why:
            counts[result] += 1
            sys.stdout.write(f"{result}  clean up: {why}\n")
    sys.stdout.write(f"{counts['ok']} ok, {counts['skip']} skipped, {counts['FAIL']} failed\n")
    return 1 if counts["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
