"""Replays, jobs and dead letters over HTTP: what is made, what is refused and how."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, Final

import pytest
from tests.conftest import Log, Run, new_organization
from tests.http.conftest import assert_problem, assert_stamped

from triggers_api.testing import ADMIN_KEY, Answer, FrozenClock, Receiver, Service

JOB_MEMBERS: Final = {
    "id", "kind", "status", "dry_run", "selection", "rate", "counted", "total", "done", "failed",
    "deliveries", "failures", "eta_s", "error", "created_at", "started_at", "finished_at",
}  # fmt: skip
NOBODYS: Final = f"{'0' * 12}7{'0' * 3}8{'0' * 15}"


class Tenant:
    """An organization of the test's own, with a receiver."""

    def __init__(self, service: Service, receiver: Receiver, run: Run, key: str) -> None:
        self.service = service
        self.receiver = receiver
        self.run = run
        self.key = key
        self._serial = count()

    def call(self, method: str, path: str, body: object = None) -> Answer:
        return self.run(self.service.call(method, path, body, key=self.key))

    def made(self, method: str, path: str, body: object = None, status: int = 202) -> Any:  # noqa: ANN401
        answer = self.call(method, path, body)
        assert answer.status == status, answer
        assert_stamped(answer)
        return answer.json if answer.body else None

    def subscription(self, *event_types: str, **fields: Any) -> str:  # noqa: ANN401 - JSON
        body = {"url": self.receiver.url, "event_types": event_types or ("*",), **fields}
        subscription_id: str = self.made("POST", "/api/subscriptions", body, 201)["id"]
        return subscription_id

    def event(self, event_type: str = "order.created", payload: object = 1) -> str:
        body = {"type": event_type, "payload": payload}
        event_id: str = self.made("POST", "/api/events", body)["id"]
        return event_id

    def drain(self) -> None:
        self.run(self.service.drain())

    def deliveries(self, query: str = "") -> list[dict[str, Any]]:
        """Oldest first."""
        found: list[dict[str, Any]]
        found = self.made("GET", f"/api/deliveries?limit=1000{query}", None, 200)["data"]
        return found[::-1]

    def dead(self, number: int = 1, *event_types: str) -> tuple[str, list[str]]:
        """A subscription and its events, each a dead letter of it; its receiver has recovered."""
        subscription_id = self.subscription(*event_types, retry_schedule=[])
        self.receiver.always(500)
        events = [self.event() for _ in range(number)]
        self.drain()
        self.receiver.always(200)
        assert len(self.deliveries("&status=dead")) >= number
        return subscription_id, events

    def job(self, job_id: str) -> dict[str, Any]:
        """A job after everything that was due."""
        self.drain()
        found: dict[str, Any] = self.made("GET", f"/api/jobs/{job_id}", None, 200)
        assert set(found) == JOB_MEMBERS
        return found

    def replay(self, **wanted: object) -> dict[str, Any]:
        """A replay that has come to its end."""
        return self.job(self.made("POST", "/api/replays", wanted)["id"])


@pytest.fixture
def tenant(service: Service, receiver: Receiver, run: Run) -> Iterator[Tenant]:
    _, key = run(new_organization(service))
    tenant = Tenant(service, receiver, run, key)
    yield tenant
    tenant.drain()
    books = run(service.call("GET", "/api/admin/verify", key=ADMIN_KEY)).json
    assert books["ok"]


def outcome(job: dict[str, Any]) -> tuple[str, int, int, int, int]:
    return job["status"], job["total"], job["done"], job["failed"], job["deliveries"]


# ── one event ─────────────────────────────────────────────────────────────────────────────────────


def test_an_event_is_replayed_to_all_that_match_it_now(tenant: Tenant) -> None:
    first, (event,) = tenant.dead()
    later = tenant.subscription("order.*")
    paused = tenant.subscription("order.*")
    tenant.made("POST", f"/api/subscriptions/{paused}/pause", None, 200)
    tenant.subscription("invoice.*")
    tenant.subscription("order.*", filter="payload > 1")
    tenant.subscription("order.*", enabled=False)
    page = tenant.made("POST", f"/api/events/{event}/replay")
    assert page["next_cursor"] is None
    made = page["data"]
    assert {each["subscription_id"] for each in made} == {first, later, paused}
    for each in made:
        assert (each["event_id"], each["origin"], each["status"]) == (event, "replay", "pending")
    tenant.drain()
    standing = {each["subscription_id"]: each["status"] for each in tenant.deliveries()}
    assert standing == {first: "succeeded", later: "succeeded", paused: "pending"}
    assert len(tenant.deliveries("&status=dead")) == 1
    headers = [dict(request.headers) for request in tenant.receiver.requests[-2:]]
    assert {each["webhook-id"] for each in headers} == {event}
    assert {each["x-triggers-attempt"] for each in headers} == {"1"}


def test_an_event_is_replayed_to_those_that_are_named_whatever_they_match(tenant: Tenant) -> None:
    _, (event,) = tenant.dead()
    other = tenant.subscription("invoice.*")
    body = {"subscription_ids": [other, other]}
    (made,) = tenant.made("POST", f"/api/events/{event}/replay", body)["data"]
    assert made["subscription_id"] == other
    tenant.drain()
    assert tenant.made("GET", f"/api/deliveries/{made['id']}", None, 200)["status"] == "succeeded"


def test_an_event_that_nobody_matches_is_replayed_to_nobody(tenant: Tenant) -> None:
    event = tenant.event()
    tenant.drain()
    assert tenant.made("POST", f"/api/events/{event}/replay", {})["data"] == []


def test_what_cannot_be_replayed_is_refused_and_nothing_is_made(tenant: Tenant) -> None:
    subscription, (event,) = tenant.dead()
    disabled = tenant.subscription(enabled=False)
    before = tenant.deliveries()
    for path in (f"evt_{NOBODYS}", "nonsense"):
        answer = tenant.call("POST", f"/api/events/{path}/replay", {})
        assert_problem(answer, 404, "not-found")
    path = f"/api/events/{event}/replay"
    answer = tenant.call("POST", path, {"subscription_ids": [subscription, f"sub_{NOBODYS}"]})
    assert_problem(answer, 422, "validation-failed")
    (error,) = answer.json["errors"]
    assert (error["pointer"], error["code"]) == ("/subscription_ids/1", "unknown-subscription")
    for wrong in ([], [subscription] * 101, [1], subscription):
        assert_problem(
            tenant.call("POST", path, {"subscription_ids": wrong}), 422, "validation-failed"
        )
    assert_problem(tenant.call("POST", path, {"colour": "red"}), 422, "validation-failed")
    assert_problem(
        tenant.call("POST", path, {"subscription_ids": [subscription, disabled]}),
        409,
        "invalid-state",
    )
    queued = tenant.event()
    assert_problem(tenant.call("POST", f"/api/events/{queued}/replay"), 409, "invalid-state")
    assert tenant.deliveries() == before
    tenant.made("DELETE", f"/api/subscriptions/{subscription}", None, 204)
    answer = tenant.call("POST", path, {"subscription_ids": [subscription]})
    assert_problem(answer, 422, "validation-failed")
    tenant.made("DELETE", f"/api/events/{event}", None, 204)
    assert_problem(tenant.call("POST", path), 404, "not-found")


# ── dead letters ──────────────────────────────────────────────────────────────────────────────────


def test_a_dry_run_counts_at_once_and_makes_nothing(tenant: Tenant) -> None:
    tenant.dead(3)
    before = tenant.deliveries()
    job = tenant.made("POST", "/api/dead-letters/replay", {"dry_run": True, "rate": 2})
    assert set(job) == JOB_MEMBERS
    assert outcome(job) == ("done", 3, 0, 0, 0)
    assert (job["kind"], job["dry_run"], job["eta_s"]) == ("replay", True, 1.5)
    assert job["finished_at"] is not None
    assert tenant.job(job["id"]) == job
    assert tenant.deliveries() == before


def test_each_dead_letter_gets_one_new_delivery(tenant: Tenant) -> None:
    subscription, events = tenant.dead(3)
    started = tenant.made("POST", "/api/dead-letters/replay")
    assert (started["status"], started["total"]) == ("pending", 0)
    job = tenant.job(started["id"])
    assert outcome(job) == ("done", 3, 3, 0, 3)
    assert (job["failures"], job["error"], job["counted"]) == ({}, None, True)
    made = [each for each in tenant.deliveries() if each["origin"] == "replay"]
    assert [each["event_id"] for each in made] == events
    assert {each["subscription_id"] for each in made} == {subscription}
    assert {each["status"] for each in made} == {"succeeded"}
    assert len(tenant.deliveries("&status=dead")) == 3


def test_dead_letters_are_chosen_as_in_their_list(
    tenant: Tenant, module_clock: FrozenClock
) -> None:
    tenant.dead(2)
    module_clock.advance(seconds=60)
    moment = str(module_clock())
    module_clock.advance(seconds=60)
    second, (first_of_second, _) = tenant.dead(2, "*")
    for body, number in (
        ({}, 6),
        ({"subscription_id": second}, 2),
        ({"event_id": first_of_second}, 2),
        ({"subscription_id": second, "event_id": first_of_second}, 1),
        ({"since": moment}, 4),
        ({"until": moment}, 2),
        ({"subscription_id": second, "until": moment}, 0),
    ):
        query = "&".join(f"{name}={value}" for name, value in body.items())
        listed = tenant.made("GET", f"/api/dead-letters?{query}", None, 200)["data"]
        job = tenant.made("POST", "/api/dead-letters/replay", {"dry_run": True, **body})
        assert job["total"] == len(listed) == number, body


def test_dead_letters_of_one_event_and_subscription_send_it_once(tenant: Tenant) -> None:
    tenant.dead()
    tenant.receiver.always(500)
    tenant.replay(status="dead")
    tenant.receiver.always(200)
    assert len(tenant.deliveries("&status=dead")) == 2
    job = tenant.job(tenant.made("POST", "/api/dead-letters/replay")["id"])
    assert outcome(job) == ("done", 2, 2, 0, 1)


def test_a_replay_is_not_replayed_by_itself(tenant: Tenant) -> None:
    tenant.dead(2)
    tenant.receiver.always(500)  # what is made dies at once, within the same millisecond
    assert outcome(tenant.replay(status="dead")) == ("done", 2, 2, 0, 2)
    assert len(tenant.deliveries("&status=dead")) == 4


def test_dead_letters_whose_event_or_subscription_has_gone_count_as_failed(tenant: Tenant) -> None:
    subscription, events = tenant.dead(3)
    tenant.made("DELETE", f"/api/events/{events[0]}", None, 204)
    started = tenant.made("POST", "/api/dead-letters/replay")
    job = tenant.job(started["id"])
    assert outcome(job) == ("done", 3, 2, 1, 2)
    assert job["failures"] == {"the event was deleted": 1}
    started = tenant.made("POST", "/api/dead-letters/replay")
    tenant.made("DELETE", f"/api/subscriptions/{subscription}", None, 204)
    job = tenant.job(started["id"])
    assert outcome(job) == ("done", 3, 0, 3, 0)
    assert sum(job["failures"].values()) == 3


def test_a_purge_deletes_dead_letters_and_nothing_else(tenant: Tenant) -> None:
    first, events = tenant.dead(2)
    second, _ = tenant.dead(1)
    tenant.event()
    tenant.drain()
    kept = [each for each in tenant.deliveries() if each["status"] != "dead"]
    assert len(kept) == 2
    job = tenant.made("DELETE", f"/api/dead-letters?subscription_id={second}")
    assert (job["kind"], job["dry_run"]) == ("purge", False)
    assert outcome(tenant.job(job["id"])) == ("done", 1, 1, 0, 0)
    assert {each["subscription_id"] for each in tenant.deliveries("&status=dead")} == {first}
    job = tenant.made("DELETE", "/api/dead-letters?all=true")
    assert outcome(tenant.job(job["id"])) == ("done", 3, 3, 0, 0)
    assert tenant.deliveries() == kept
    event = tenant.made("GET", f"/api/events/{events[0]}", None, 200)
    assert (event["status"], event["deliveries"]) == ("processed", [])
    assert [moment["what"] for moment in event["timeline"]] == ["received", "processed"]


def test_a_purge_wants_to_be_told_which(tenant: Tenant) -> None:
    tenant.dead()
    for query in ("", "?all=false"):
        answer = tenant.call("DELETE", f"/api/dead-letters{query}")
        assert_problem(answer, 422, "validation-failed")
        assert answer.json["errors"][0]["code"] == "missing-filter"
    for query in ("?all=perhaps", "?status=dead", "?since=today", "?limit=1"):
        answer = tenant.call("DELETE", f"/api/dead-letters{query}")
        assert_problem(answer, 422, "validation-failed")
        assert answer.json["errors"][0]["pointer"] == query[1:].split("=")[0]
    answer = tenant.call("DELETE", f"/api/dead-letters?subscription_id=sub_{NOBODYS}")
    assert_problem(answer, 404, "not-found")
    assert len(tenant.deliveries("&status=dead")) == 1


# ── replays ───────────────────────────────────────────────────────────────────────────────────────


def test_without_a_status_every_event_goes_to_all_that_match_it_now(tenant: Tenant) -> None:
    events = [tenant.event("order.created"), tenant.event("invoice.paid", 5)]
    tenant.drain()
    orders = tenant.subscription("order.*")
    large = tenant.subscription("*", filter="payload > 3")
    tenant.subscription("*", enabled=False)
    job = tenant.replay()
    assert outcome(job) == ("done", 2, 2, 0, 2)
    found = {(each["event_id"], each["subscription_id"]) for each in tenant.deliveries()}
    assert found == {(events[0], orders), (events[1], large)}


def test_a_subscription_gets_what_it_matches_once_more(
    tenant: Tenant, module_clock: FrozenClock
) -> None:
    one = tenant.subscription("order.*")
    tenant.subscription("*")
    old = tenant.event("order.created")
    module_clock.advance(seconds=60)
    moment = str(module_clock())
    new = tenant.event("order.created")
    paid = tenant.event("order.paid")
    tenant.event("invoice.paid")
    tenant.drain()
    for wanted, expected in (
        ({}, {old, new, paid}),
        ({"type": "order.c*"}, {old, new}),
        ({"type": "invoice.*"}, set()),
        ({"since": moment}, {new, paid}),
        ({"until": moment}, {old}),
        ({"status": "cancelled"}, set()),
    ):
        before = {each["id"] for each in tenant.deliveries()}
        job = tenant.replay(subscription_id=one, **wanted)
        made = [each for each in tenant.deliveries() if each["id"] not in before]
        assert len(made) == len(expected) == job["deliveries"], wanted
        assert {each["event_id"] for each in made} == expected, wanted
        assert {each["subscription_id"] for each in made} <= {one}


def test_a_new_subscription_gets_what_it_never_saw_and_only_once(tenant: Tenant) -> None:
    tenant.subscription("*")
    events = [tenant.event(payload=amount) for amount in (1, 20, 30)]
    tenant.event("invoice.paid", 40)
    tenant.drain()
    new = tenant.subscription("order.*", filter="payload > 10")
    seen = tenant.event(payload=50)
    tenant.drain()
    dry = tenant.made(
        "POST", "/api/replays", {"subscription_id": new, "status": "missed", "dry_run": True}
    )
    assert outcome(dry) == ("done", 2, 0, 0, 0)
    assert outcome(tenant.replay(subscription_id=new, status="missed")) == ("done", 2, 2, 0, 2)
    got = [each["event_id"] for each in tenant.deliveries(f"&subscription_id={new}")]
    assert sorted(got) == sorted([*events[1:], seen])
    assert outcome(tenant.replay(subscription_id=new, status="missed")) == ("done", 0, 0, 0, 0)


def test_a_repaired_subscription_gets_what_came_in_while_it_was_disabled(tenant: Tenant) -> None:
    subscription = tenant.subscription("*")
    path = f"/api/subscriptions/{subscription}"
    tenant.made("PATCH", path, {"enabled": False}, 200)
    missed = tenant.event()
    tenant.drain()
    tenant.made("PATCH", path, {"enabled": True}, 200)
    tenant.event()
    tenant.drain()
    job = tenant.replay(subscription_id=subscription, status="missed")
    assert outcome(job) == ("done", 1, 1, 0, 1)
    assert [e["event_id"] for e in tenant.deliveries() if e["origin"] == "replay"] == [missed]


def test_what_is_not_routed_is_not_replayed(tenant: Tenant, module_clock: FrozenClock) -> None:
    subscription = tenant.subscription("*")
    later = str(module_clock().after(seconds=3600))
    body = {"type": "order.created", "payload": 1, "deliver_at": later}
    scheduled = tenant.made("POST", "/api/events", body)["id"]
    gone = tenant.event()
    tenant.drain()
    tenant.made("DELETE", f"/api/events/{gone}", None, 204)
    for status in (None, "missed"):
        job = tenant.replay(subscription_id=subscription, status=status)
        assert outcome(job) == ("done", 0, 0, 0, 0)
    assert tenant.made("DELETE", f"/api/events/{scheduled}", None, 204) is None


def test_a_rate_is_kept(tenant: Tenant, module_clock: FrozenClock) -> None:
    tenant.dead(5)
    began = len(tenant.receiver.requests)
    started = tenant.made("POST", "/api/dead-letters/replay", {"rate": 2})
    progress = []
    for _ in range(3):
        job = tenant.job(started["id"])
        progress.append((job["status"], job["done"], len(tenant.receiver.requests) - began))
        module_clock.advance(seconds=1)
    assert progress == [("running", 2, 2), ("running", 4, 4), ("done", 5, 5)]


def test_a_rate_may_be_less_than_one_a_second(tenant: Tenant, module_clock: FrozenClock) -> None:
    tenant.dead(2)
    started = tenant.made("POST", "/api/dead-letters/replay", {"rate": 0.5})
    done = []
    for _ in range(5):
        done.append(tenant.job(started["id"])["done"])
        module_clock.advance(seconds=1)
    assert done == [1, 1, 2, 2, 2]


def test_a_job_that_is_cancelled_stops_where_it_is(tenant: Tenant) -> None:
    tenant.dead(4)
    started = tenant.made("POST", "/api/dead-letters/replay", {"rate": 1})
    assert tenant.job(started["id"])["done"] == 1
    path = f"/api/jobs/{started['id']}"
    cancelled = tenant.made("DELETE", path, None, 200)
    assert (cancelled["status"], cancelled["total"], cancelled["done"]) == ("cancelled", 4, 1)
    assert cancelled["finished_at"] is not None
    assert tenant.job(started["id"]) == cancelled
    assert_problem(tenant.call("DELETE", path), 409, "invalid-state")
    assert len([e for e in tenant.deliveries() if e["origin"] == "replay"]) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"status": "missed"}, "/subscription_id"),
        ({"status": "pending"}, "/status"),
        ({"status": 1}, "/status"),
        ({"type": "no spaces"}, "/type"),
        ({"type": ""}, "/type"),
        ({"since": "yesterday"}, "/since"),
        ({"until": 5}, "/until"),
        ({"rate": 0}, "/rate"),
        ({"rate": -1}, "/rate"),
        ({"rate": 1e6}, "/rate"),
        ({"rate": "fast"}, "/rate"),
        ({"dry_run": "yes"}, "/dry_run"),
        ({"subscription_id": 1}, "/subscription_id"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_a_replay_that_is_not_acceptable_says_why(
    tenant: Tenant, body: dict[str, object], pointer: str
) -> None:
    answer = tenant.call("POST", "/api/replays", body)
    assert_problem(answer, 422, "validation-failed")
    assert [error["pointer"] for error in answer.json["errors"]] == [pointer]
    assert tenant.made("GET", "/api/jobs", None, 200)["data"] == []


def test_a_replay_to_a_subscription_that_is_not_there_is_not_found(tenant: Tenant) -> None:
    for subscription in (f"sub_{NOBODYS}", "nonsense", ""):
        for path in ("/api/replays", "/api/dead-letters/replay"):
            answer = tenant.call("POST", path, {"subscription_id": subscription})
            assert_problem(answer, 404, "not-found")
    assert tenant.made("GET", "/api/jobs", None, 200)["data"] == []


def test_a_subscription_that_goes_away_ends_the_job_that_is_about_it(tenant: Tenant) -> None:
    subscription = tenant.subscription("*")
    tenant.event()
    tenant.drain()
    started = tenant.made("POST", "/api/replays", {"subscription_id": subscription})
    tenant.made("DELETE", f"/api/subscriptions/{subscription}", None, 204)
    job = tenant.job(started["id"])
    assert (job["status"], job["error"]) == ("failed", "the subscription was deleted")


# ── the list of jobs ──────────────────────────────────────────────────────────────────────────────


def test_jobs_are_listed_newest_first_page_by_page(tenant: Tenant) -> None:
    made = [tenant.made("POST", "/api/replays", {"dry_run": True})["id"] for _ in range(5)][::-1]
    seen, path = [], "/api/jobs?limit=2"
    for _ in range(3):
        page = tenant.made("GET", path, None, 200)
        seen += [job["id"] for job in page["data"]]
        path = f"/api/jobs?limit=2&cursor={page['next_cursor']}"
    assert seen == made
    assert page["next_cursor"] is None
    assert_problem(tenant.call("GET", "/api/jobs?cursor=nonsense"), 400, "invalid-cursor")
    assert_problem(tenant.call("GET", "/api/jobs?status=done"), 422, "validation-failed")


def test_a_job_that_is_not_there_is_not_found(tenant: Tenant) -> None:
    for job_id in (f"job_{NOBODYS}", "nonsense", f"evt_{NOBODYS}"):
        for method in ("GET", "DELETE"):
            assert_problem(tenant.call(method, f"/api/jobs/{job_id}"), 404, "not-found")


def test_more_unfinished_jobs_than_there_may_be_are_refused(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.http.jobs.MOST_OPEN", 1)
    tenant.dead()
    tenant.made("POST", "/api/replays", {})
    assert_problem(tenant.call("POST", "/api/replays", {}), 409, "invalid-state")
    tenant.drain()
    tenant.made("POST", "/api/replays", {})


def test_who_asked_for_a_job_is_in_the_log(tenant: Tenant, log: Log) -> None:
    tenant.dead()
    job = tenant.made("POST", "/api/dead-letters/replay")
    tenant.job(job["id"])
    lines = [line for line in log if line.get("job_id") == job["id"]]
    assert [line["event"] for line in lines] == ["job created", "job finished"]
    assert lines[0]["key_id"].startswith("key_")
    assert (lines[1]["status"], lines[1]["done"]) == ("done", 1)


# ── groups of dead letters ────────────────────────────────────────────────────────────────────────


def test_dead_letters_are_grouped_by_subscription_and_what_they_died_of(tenant: Tenant) -> None:
    first, _ = tenant.dead(2)
    second, _ = tenant.dead(1)
    page = tenant.made("GET", "/api/dead-letters/groups", None, 200)
    assert page["next_cursor"] is None
    found = {each["subscription_id"]: each for each in page["data"]}
    assert {each: found[each]["count"] for each in found} == {first: 3, second: 1}
    for group in found.values():
        assert (group["error_class"], group["complete"]) == ("500", True)
        newest = tenant.made("GET", f"/api/deliveries/{group['newest']}", None, 200)
        assert (newest["created_at"], newest["status"]) == (group["newest_at"], "dead")


def test_groups_of_dead_letters_come_page_by_page(tenant: Tenant) -> None:
    subscriptions = sorted(tenant.dead()[0] for _ in range(3))
    seen: list[str] = []
    cursor = ""
    while len(seen) < 3:
        page = tenant.made("GET", f"/api/dead-letters/groups?limit=1{cursor}", None, 200)
        seen += [each["subscription_id"] for each in page["data"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert (seen, page["next_cursor"]) == (subscriptions, None)
    answer = tenant.call("GET", "/api/dead-letters/groups?cursor=nonsense")
    assert_problem(answer, 400, "invalid-cursor")


def test_a_group_of_dead_letters_is_listed_replayed_and_purged(tenant: Tenant) -> None:
    first, _ = tenant.dead(2)
    second, _ = tenant.dead(1)
    query = f"subscription_id={first}&error_class=500"
    listed = tenant.made("GET", f"/api/dead-letters?{query}", None, 200)["data"]
    assert [each["subscription_id"] for each in listed] == [first] * 3
    none = tenant.made(
        "GET", f"/api/dead-letters?subscription_id={first}&error_class=404", None, 200
    )
    assert none["data"] == []
    body = {"subscription_id": first, "error_class": "500"}
    job = tenant.job(tenant.made("POST", "/api/dead-letters/replay", body)["id"])
    assert outcome(job) == ("done", 3, 3, 0, 3)
    assert (job["selection"]["error_class"], job["selection"]["ids"]) == ("500", None)
    counted = tenant.made("POST", "/api/dead-letters/purge", {**body, "dry_run": True})
    assert (counted["kind"], counted["total"], counted["done"]) == ("purge", 3, 0)
    job = tenant.job(tenant.made("POST", "/api/dead-letters/purge", body)["id"])
    assert outcome(job) == ("done", 3, 3, 0, 0)
    assert {each["subscription_id"] for each in tenant.deliveries("&status=dead")} == {second}
    for other in ("404", "timeout"):
        job = tenant.made("DELETE", f"/api/dead-letters?error_class={other}")
        assert outcome(tenant.job(job["id"])) == ("done", 0, 0, 0, 0)
    job = tenant.made("POST", "/api/dead-letters/purge", {"error_class": "500"})
    assert outcome(tenant.job(job["id"])) == ("done", 1, 1, 0, 0)


def test_chosen_dead_letters_are_replayed_and_purged_and_no_others(tenant: Tenant) -> None:
    tenant.dead(3)
    alive = [each["id"] for each in tenant.deliveries() if each["status"] != "dead"]
    letters = [each["id"] for each in tenant.deliveries("&status=dead")]
    chosen = [letters[2], letters[0], letters[2], f"dlv_{NOBODYS}", *alive]
    job = tenant.job(tenant.made("POST", "/api/dead-letters/replay", {"ids": chosen})["id"])
    assert outcome(job) == ("done", 2, 2, 0, 2)
    job = tenant.job(tenant.made("POST", "/api/dead-letters/purge", {"ids": chosen})["id"])
    assert outcome(job) == ("done", 2, 2, 0, 0)
    assert [each["id"] for each in tenant.deliveries("&status=dead")] == [letters[1]]


def test_a_choice_of_dead_letters_has_some_and_not_too_many(tenant: Tenant) -> None:
    for ids in ([], ["dlv_x"] * 1001, "dlv_x"):
        for path in ("replay", "purge"):
            answer = tenant.call("POST", f"/api/dead-letters/{path}", {"ids": ids})
            assert_problem(answer, 422, "validation-failed")
    answer = tenant.call("POST", "/api/dead-letters/purge", {})
    assert_problem(answer, 422, "validation-failed")
    assert answer.json["errors"][0]["code"] == "missing-filter"
    for query in ("error_class=500", f"error_class=500&event_id=evt_{NOBODYS}"):
        answer = tenant.call("GET", f"/api/dead-letters?{query}")
        assert_problem(answer, 422, "validation-failed")
