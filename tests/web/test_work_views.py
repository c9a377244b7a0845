"""What the views of subscriptions, dead letters, inboxes, event types and operations show and do."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.conftest import Run, own_organization
from tests.web.conftest import Browser

from triggers_api.testing import ADMIN_KEY, Answer, FrozenClock, Receiver, Service

XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture
def base(service: Service, run: Run) -> str:
    """Where the organization's views are, for an operator."""
    return f"/ui/org/{run(own_organization(service))}"


@pytest.fixture
def receiver(run: Run) -> Any:  # noqa: ANN401 - a generator
    receiver = Receiver()
    run(receiver.__aenter__())
    yield receiver
    run(receiver.__aexit__(None, None, None))


def shown(run: Run, browser: Browser, path: str) -> str:
    """A page as people read it: its text, and nothing else."""
    answer = run(browser.get(path))
    assert answer.status == 200, answer
    return as_text(answer)


def as_text(answer: Answer) -> str:
    text = answer.body.decode().replace("<wbr>", "")
    text = re.sub(r"<(script|style|svg)\b.*?</\1>", "", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def dead(service: Service, run: Run, receiver: Receiver, count: int = 1) -> str:
    """A subscription with dead letters."""
    receiver.always(500)
    made = run(
        service.subscribe(receiver.url, ["dead.*"], retry_schedule=[], description="The bookkeeper")
    )
    for number in range(count):
        run(service.send("dead.letter", number))
    run(service.drain())
    receiver.always(204)
    identifier: str = made["id"]
    return identifier


def test_a_subscription_is_made_and_its_secret_shown_once(
    service: Service, run: Run, operator: Browser, base: str, receiver: Receiver
) -> None:
    assert "URL" in shown(run, operator, f"{base}/do/create-subscription")
    answer = run(
        operator.post(
            f"{base}/do/create-subscription",
            url=receiver.url,
            event_types="order.* invoice.paid",
            filter="payload.total > 100",
            description="The warehouse",
            retry_schedule="1 2.5",
            timeout_s="3",
            payload_format="flat",
            ordering="key",
        )
    )
    assert answer.status == 200, answer
    assert "whsec_" in as_text(answer)
    (made,) = [
        each
        for each in run(service.call("GET", "/api/subscriptions")).json["data"]
        if each["description"] == "The warehouse"
    ]
    assert made["event_types"] == ["order.*", "invoice.paid"]
    assert (made["retry_schedule"], made["timeout_s"]) == ([1, 2.5], 3)
    assert (made["payload_format"], made["ordering"]) == ("flat", "key")
    text = shown(run, operator, f"{base}/subscriptions")
    assert "The warehouse" in text
    assert "whsec_" not in text
    text = shown(run, operator, f"{base}/subscriptions/{made['id']}")
    assert "payload.total > 100" in text
    assert "whsec_" not in text


def test_a_subscription_is_edited_paused_resumed_and_deleted(
    service: Service, run: Run, operator: Browser, base: str, receiver: Receiver
) -> None:
    made = run(service.subscribe(receiver.url, ["a"], filter="payload > 1", timeout_s=5))

    def now() -> dict[str, Any]:
        found: dict[str, Any] = run(service.call("GET", f"/api/subscriptions/{made['id']}")).json
        return found

    def act(name: str, **form: str) -> Answer:
        return run(operator.post(f"{base}/do/{name}", subscription_id=made["id"], **form))

    question = run(operator.get(f"{base}/do/edit-subscription?subscription_id={made['id']}"))
    assert 'value="a"' in question.body.decode()
    assert "payload &gt; 1" in question.body.decode()
    assert act("edit-subscription", url=receiver.url, event_types="b", filter="").status == 303
    assert (now()["event_types"], now()["filter"], now()["timeout_s"]) == (["b"], None, None)
    refused = act("edit-subscription", url=receiver.url, event_types="b", timeout_s="long")
    assert "not a number" in as_text(refused)
    assert act("pause-subscription").status == 303
    assert now()["status"] == "paused"
    assert act("resume-subscription").status == 303
    assert now()["status"] == "active"
    asked = act("delete-subscription")
    assert "0 deliveries that wait for it are cancelled" in as_text(asked)
    assert now()["status"] == "active", "it only asked"
    assert act("delete-subscription", confirmed="yes").status == 303
    assert run(service.call("GET", f"/api/subscriptions/{made['id']}")).status == 404


def test_a_filter_is_tried_while_it_is_typed(
    service: Service, run: Run, operator: Browser, base: str
) -> None:
    for total in (50, 150):
        run(service.send("typed.order", {"total": total}))
    path = f"{base}/subscriptions/check?event_types=typed.*&filter="
    assert "1 would come; of these types 1 would not" in shown(
        run, operator, path + "payload.total>100"
    )
    assert "Line 1, column" in shown(run, operator, path + "payload.total%20>")
    assert "for 2 the filter has no answer" in shown(run, operator, path + "payload.sum>1")


def test_a_subscription_is_tested_and_its_secret_rotated(
    service: Service, run: Run, operator: Browser, base: str, receiver: Receiver
) -> None:
    made = run(service.subscribe(receiver.url, ["none.of.them"]))
    for name in ("test-subscription", "rotate-secret", "replay-subscription"):
        assert run(operator.get(f"{base}/do/{name}?subscription_id={made['id']}")).status == 200
    answer = run(
        operator.post(
            f"{base}/do/test-subscription", subscription_id=made["id"], payload='{"trial": 1}'
        )
    )
    assert (answer.status, "/deliveries/dlv_" in answer.headers["location"]) == (303, True)
    run(service.drain())
    assert receiver.requests[-1].json["data"] == {"trial": 1}
    bad = run(
        operator.post(f"{base}/do/test-subscription", subscription_id=made["id"], payload="{")
    )
    assert "is not JSON" in as_text(bad)
    answer = run(operator.post(f"{base}/do/rotate-secret", subscription_id=made["id"], grace_h="1"))
    assert "whsec_" in as_text(answer)


def test_dead_letters_are_grouped_and_a_group_is_replayed_as_a_job(
    service: Service, run: Run, operator: Browser, base: str, receiver: Receiver
) -> None:
    subscription = dead(service, run, receiver, 3)
    text = shown(run, operator, f"{base}/dead-letters")
    assert "The bookkeeper" in text
    assert "the receiver answered 500" in text
    assert "dead.letter" in shown(run, operator, f"{base}/dead-letters/of/{subscription}")
    assert "dead.letter" in shown(run, operator, f"{base}/dead-letters/of/{subscription}/500")
    given = {"subscription_id": subscription, "error_class": "500"}
    question = shown(
        run, operator,
        f"{base}/do/replay-dead-letters?subscription_id={subscription}&error_class=500",
    )  # fmt: skip
    assert "3 dead letters of The bookkeeper that died of 500 are delivered once more" in question
    answer = run(operator.post(f"{base}/do/replay-dead-letters", **given))
    assert answer.status == 303
    job = answer.headers["location"].partition("?")[0]
    assert "pending" in shown(run, operator, job)
    run(service.drain())
    assert "3 of 3" in shown(run, operator, job)
    assert len(receiver.requests) == 6
    asked = run(operator.post(f"{base}/do/purge-dead-letters", **given))
    assert "3 dead letters" in as_text(asked)
    answer = run(operator.post(f"{base}/do/purge-dead-letters", confirmed="yes", **given))
    run(service.drain())
    assert "None are left" in shown(run, operator, f"{base}/dead-letters/of/{subscription}")


def test_dead_letters_with_a_tick_are_replayed_and_no_others(
    service: Service, run: Run, operator: Browser, base: str, receiver: Receiver
) -> None:
    subscription = dead(service, run, receiver, 3)
    path = f"/api/dead-letters?subscription_id={subscription}"
    letters = [each["id"] for each in run(service.call("GET", path)).json["data"]]
    question = run(
        operator.get(
            f"{base}/do/replay-dead-letters?selected=yes&ids={letters[0]}&ids={letters[2]}"
        )
    )
    assert "2 chosen dead letters" in as_text(question)
    assert question.body.decode().count('name="ids"') == 2
    answer = run(
        operator.post(
            f"{base}/do/replay-dead-letters",
            selected="yes",
            ids=[letters[0], letters[2]],
            rate="50",
        )
    )
    assert answer.status == 303
    run(service.drain())
    assert "2 of 2" in shown(run, operator, answer.headers["location"].partition("?")[0])
    none = run(operator.post(f"{base}/do/replay-dead-letters", selected="yes"))
    assert "nothing is ticked" in as_text(none).lower()


def test_a_job_is_stopped(
    service: Service, run: Run, operator: Browser, base: str, receiver: Receiver
) -> None:
    subscription = dead(service, run, receiver, 2)
    answer = run(
        operator.post(f"{base}/do/replay-dead-letters", subscription_id=subscription, rate="0.01")
    )
    job = answer.headers["location"].partition("?")[0]
    job_id = job.rpartition("/")[2]
    assert (
        "what it has done stays done"
        in as_text(run(operator.post(f"{base}/do/cancel-job", job_id=job_id))).lower()
    )
    run(operator.post(f"{base}/do/cancel-job", job_id=job_id, confirmed="yes"))
    assert "cancelled" in shown(run, operator, job)


def test_inboxes_are_made_looked_into_and_moved(
    service: Service, run: Run, operator: Browser, base: str
) -> None:
    run(service.send("in.box", {"n": 1}))
    answer = run(operator.post(f"{base}/do/save-inbox", name="audit", types="in.*"))
    assert answer.status == 303
    assert "audit" in shown(run, operator, f"{base}/inboxes")
    assert "in.box" in shown(run, operator, f"{base}/inboxes/audit")
    assert run(operator.get(f"{base}/inboxes/default")).status == 200
    seek = {"name": "audit", "where": "end"}
    assert "events wait there" in as_text(run(operator.post(f"{base}/do/seek-inbox", **seek)))
    assert run(operator.post(f"{base}/do/seek-inbox", confirmed="yes", **seek)).status == 303
    assert "Nothing waits" in shown(run, operator, f"{base}/inboxes/audit")
    seek = {"name": "audit", "where": "time", "at": "2020-01-01T00:00"}
    run(operator.post(f"{base}/do/seek-inbox", confirmed="yes", **seek))
    assert "in.box" in shown(run, operator, f"{base}/inboxes/audit")
    assert (
        run(operator.post(f"{base}/do/delete-inbox", name="audit", confirmed="yes")).status == 303
    )
    assert run(operator.get(f"{base}/inboxes/audit")).status == 404


def test_an_event_type_is_described_and_one_is_sent(
    service: Service, run: Run, operator: Browser, base: str
) -> None:
    run(service.send("seen.once", 1))
    assert "seen.once" in shown(run, operator, f"{base}/event-types")
    saved = run(
        operator.post(
            f"{base}/do/save-event-type",
            name="order.placed",
            description="Somebody bought something",
            schema='{"type": "object", "required": ["id"]}',
            example='{"id": 12345678901234567890}',
            mode="enforce",
        )
    )
    assert saved.status == 303, saved
    assert "Somebody bought something" in shown(run, operator, f"{base}/event-types")
    text = shown(run, operator, f"{base}/event-types/type?name=order.placed")
    assert '"required"' in text
    assert "12345678901234567890" in text, "to the digit"
    form = shown(run, operator, f"{base}/do/send-event?type=order.placed")
    assert "12345678901234567890" in form
    sent = run(operator.post(f"{base}/do/send-event", type="order.placed", payload='{"id": 1}'))
    assert (sent.status, "/events/evt_" in sent.headers["location"]) == (303, True)
    refused = run(operator.post(f"{base}/do/send-event", type="order.placed", payload="{}"))
    assert "fit" in as_text(refused)
    for form_ in ({"schema": "{"}, {"example": "nothing"}):
        bad = run(operator.post(f"{base}/do/save-event-type", name="a", **form_))
        assert "is not JSON" in as_text(bad)
    gone = run(operator.post(f"{base}/do/delete-event-type", name="order.placed", confirmed="yes"))
    assert gone.status == 303


def test_a_type_with_slashes_in_its_name_is_described_changed_and_deleted(
    service: Service, run: Run, operator: Browser, base: str
) -> None:
    for name in ("com/acme/order.placed", "a//b", "a/../b"):
        for words in ("First words", "Other words"):
            saved = run(operator.post(f"{base}/do/save-event-type", name=name, description=words))
            assert saved.status == 303, saved
        found = {
            each["name"]: each for each in run(service.call("GET", "/api/event-types")).json["data"]
        }
        assert found[name]["description"] == "Other words"
        asked = urlencode({"name": name})
        assert "Other words" in shown(run, operator, f"{base}/event-types/type?{asked}")
        form = run(operator.get(f"{base}/do/save-event-type?{asked}"))
        assert b'value="Other words"' in form.body
        told = run(operator.post(f"{base}/do/delete-event-type", name=name, preview="yes"))
        assert f"/api/event-types/{name}" in as_text(told)
        gone = run(operator.post(f"{base}/do/delete-event-type", name=name, confirmed="yes"))
        assert gone.status == 303
        assert run(operator.get(f"{base}/event-types/type?{asked}")).status == 404


def test_a_switch_is_turned_with_a_reason_and_for_a_while(
    service: Service, run: Run, operator: Browser, clock: FrozenClock
) -> None:
    assert "paused: deliveries wait" in shown(run, operator, "/ui/do/turn-switch?switch=delivery")
    turned = run(
        operator.post(
            "/ui/do/turn-switch",
            switch="delivery", value="paused", reason="The partner asked for it", expires_in_s="3600",
        )
    )  # fmt: skip
    assert turned.status == 303, turned
    text = shown(run, operator, "/ui/operations")
    assert "The partner asked for it" in text
    assert "in 60 min" in text or "in 1 h" in text
    controls = run(service.call("GET", "/api/admin/controls", key=ADMIN_KEY)).json
    assert controls["delivery"] == "paused"
    run(operator.post("/ui/do/turn-switch", switch="delivery", value="running"))
    run(operator.post("/ui/do/turn-switch", switch="batch_size", value="7"))
    run(operator.post("/ui/do/turn-switch", switch="batch_size", value=""))
    controls = run(service.call("GET", "/api/admin/controls", key=ADMIN_KEY)).json
    assert (controls["delivery"], controls["batch_size"]) == ("running", None)
    for form in ({"switch": "nothing"}, {"switch": "batch_size", "value": "many"}):
        assert run(operator.post("/ui/do/turn-switch", **form)).status in {200, 422}
    assert clock() > 0


def test_a_switch_is_turned_for_one_organization_and_for_one_subscription(
    service: Service, run: Run, operator: Browser, base: str, receiver: Receiver
) -> None:
    whose = base.removeprefix("/ui/org/")
    made = run(service.subscribe(receiver.url, ["held.*"], description="The archive"))

    def turned() -> list[tuple[str, str, str | None]]:
        found = run(service.call("GET", "/api/admin/switches", key=ADMIN_KEY)).json["data"]
        return [
            (each["switch"], each["value"], each["subscription_id"])
            for each in found
            if each["organization_id"] == whose
        ]

    path = f"/ui/operations/of/{whose}"
    assert "as the service has it" in shown(run, operator, path)
    asked = f"/ui/do/turn-switch?switch=processing&organization_id={whose}"
    assert "as the service has it" in shown(run, operator, asked)
    form = {"switch": "processing", "organization_id": whose, "reason": "Too much at once"}
    answer = run(operator.post("/ui/do/turn-switch", value="paused", **form))
    assert answer.status == 303, answer
    assert turned() == [("processing", "paused", None)]
    assert "Too much at once" in shown(run, operator, path)
    told = as_text(run(operator.post("/ui/do/turn-switch", preview="yes", value="paused", **form)))
    assert f"/api/admin/controls?organization_id={whose}" in told
    assert run(operator.post("/ui/do/turn-switch", value="", **form)).status == 303
    assert turned() == []
    of = f"{base}/subscriptions/{made['id']}"
    assert "Delivery switch…" in shown(run, operator, of)
    form = {"switch": "delivery", "organization_id": whose, "subscription_id": made["id"]}
    question = shown(run, operator, f"{base}/do/turn-switch?{urlencode(form)}")
    assert "Turn delivery to The archive" in question
    assert run(operator.post(f"{base}/do/turn-switch", value="paused", **form)).status == 303
    assert turned() == [("delivery", "paused", made["id"])]
    assert "The archive" in shown(run, operator, "/ui/operations")
    assert run(operator.post(f"{base}/do/turn-switch", value="", **form)).status == 303
    assert turned() == []
    assert run(operator.get(f"/ui/operations/of/org_{'0' * 32}")).status == 404


def test_the_service_is_drained_and_takes_events_in_again(
    service: Service, run: Run, operator: Browser
) -> None:
    run(service.send("a", 1))
    assert "Every event is answered 503" in as_text(run(operator.post("/ui/do/drain")))
    assert run(operator.post("/ui/do/drain", confirmed="yes", reason="An upgrade")).status == 303
    assert run(service.send("a", 1)).status == 503
    page = run(operator.get("/ui/operations")).body.decode()
    assert re.search(r'<progress value="0" max="([1-9]\d*)" aria-label="0 of \1"', page)
    run(service.drain())
    assert "Take events in again" in shown(run, operator, "/ui/operations")
    assert run(operator.post("/ui/do/undrain")).status == 303
    assert run(service.send("a", 1)).status == 202


def test_what_operators_look_after_is_shown(service: Service, run: Run, operator: Browser) -> None:
    run(service.send("waits", 1))
    assert "Waiting to be routed" in shown(run, operator, "/ui/operations/queues")
    run(service.drain())
    settings = shown(run, operator, "/ui/operations/settings")
    assert "TRIGGERS_BATCH_SIZE" in settings
    assert "********" in settings
    assert ADMIN_KEY not in settings
    assert "The books balance" not in shown(run, operator, "/ui/operations/verify")
    assert "The books balance" in shown(run, operator, "/ui/operations/verify?now=yes")
    assert run(operator.get("/ui/operations/audit")).status == 200
    for name in ("requeue-stuck", "process-once"):
        assert run(operator.post(f"/ui/do/{name}")).status == 303


def test_what_is_kept_aside_is_released_with_another_payload(
    service: Service, run: Run, operator: Browser
) -> None:
    rules = {"schema": {"type": "object"}, "mode": "quarantine"}
    run(service.call("PUT", "/api/event-types/strict.one", rules))
    event_id = run(service.send("strict.one", 7)).json["id"]
    assert "strict.one" in shown(run, operator, "/ui/operations/quarantine")
    assert run(operator.get(f"/ui/do/release-event?event_id={event_id}")).status == 200
    released = run(operator.post("/ui/do/release-event", event_id=event_id, payload="{}"))
    assert released.status == 303, released
    run(service.drain())
    event = run(service.call("GET", f"/api/events/{event_id}")).json
    assert (event["status"], event["payload"]) == ("processed", {})
    other = run(service.send("strict.one", 7)).json["id"]
    assert run(operator.post("/ui/do/delete-aside", event_id=other, confirmed="yes")).status == 303
    assert "Nothing is kept aside" in shown(run, operator, "/ui/operations/quarantine")


def test_an_organization_has_no_operations(run: Run, member: Browser) -> None:
    for path in ("operations", "operations/settings", "operations/audit"):
        assert run(member.get(f"/ui/{path}")).status in {403, 404}
    for name in ("turn-switch", "drain", "release-event"):
        assert run(member.post(f"/ui/do/{name}", confirmed="yes")).status in {403, 404}
    assert "Operations" not in shown(run, member, "/ui/subscriptions")


def test_what_anybody_wrote_is_shown_as_text(
    service: Service, run: Run, operator: Browser, base: str, receiver: Receiver
) -> None:
    receiver.always(500)
    made = run(service.subscribe(receiver.url, ["xss.*"], retry_schedule=[], description=XSS))
    run(
        service.call(
            "PUT", "/api/event-types/xss.type", {"description": XSS, "example": {XSS: XSS}}
        )
    )
    run(service.send("xss.type", {XSS: XSS}, source=XSS, key=XSS))
    run(service.drain())
    run(
        service.call(
            "PATCH", "/api/admin/controls", {"delivery": "paused", "reason": XSS}, key=ADMIN_KEY
        )
    )
    for path in (
        f"{base}/subscriptions", f"{base}/subscriptions/{made['id']}", f"{base}/dead-letters",
        f"{base}/dead-letters/of/{made['id']}", f"{base}/dead-letters/of/{made['id']}/500",
        f"{base}/event-types", f"{base}/event-types/type?name=xss.type", f"{base}/inboxes/default",
        f"{base}/do/edit-subscription?subscription_id={made['id']}",
        f"{base}/do/send-event?type=xss.type", f"{base}/do/save-event-type?name=xss.type",
        f"{base}/do/replay-dead-letters?subscription_id={made['id']}",
        f"{base}/do/edit-subscription?subscription_id={made['id']}&url=%22%3E%3Cscript%3E",
        "/ui/operations", "/ui/operations/audit", "/ui/operations/queues",
    ):  # fmt: skip
        body = run(operator.get(path)).body.decode()
        assert "<script>alert" not in body, path
        assert "<img src=x" not in body, path
        assert '"><script>' not in body, path
    run(service.call("PATCH", "/api/admin/controls", {"delivery": "running"}, key=ADMIN_KEY))
