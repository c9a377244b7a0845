"""What happens beside a handler: leases are extended, and what is lost is known to be lost.

The service is a script here, so that leases end when the test says so and not when a clock does.
"""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from aiohttp import web
from tests.client.conftest import Connect
from tests.client.test_faults import KEY, base, refusal

from triggers_api.client import Client, LeaseLost
from triggers_api.client.holding import Consumption, Holding, retry_delay_s
from triggers_api.client.models import InboxItem, InboxResult
from triggers_api.testing import LocalReceiver, Received

LEASE_S = 4
"""A client takes a message for lost by its own clock: it must be able to be late by a second or two."""


class Script:
    """A service with one message, which notes what is asked of it."""

    def __init__(self, receiver: LocalReceiver) -> None:
        self.extended = self.settled = "extended"
        self.verbs: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.came = threading.Condition()
        self._left = 1
        receiver.always(self._answer)

    async def _answer(self, request: Received) -> web.Response:
        verb = request.path.rpartition("/")[2]
        with self.came:
            self.verbs.append(verb)
            self.bodies.append(request.json)
            self.came.notify_all()
        if verb == "pull":
            item = {"id": "evt_1", "receipt": "r1", "payload": 1, "receive_count": 1}
            data, self._left = [item] * self._left, 0
            return web.json_response({"data": data})
        status = self.extended if verb == "extend" else f"{verb}ed"
        if verb != "extend" and self.settled == "lease_lost":
            status = self.settled
        receipts = request.json["receipts"]
        return web.json_response(
            {"results": [{"id": "evt_1", "receipt": each, "status": status} for each in receipts]}
        )

    def wait_for(self, verb: str, count: int = 1) -> None:
        with self.came:
            assert self.came.wait_for(lambda: self.verbs.count(verb) >= count, timeout=20)


@pytest.fixture
def scripted(script: LocalReceiver) -> Script:
    return Script(script)


def test_a_lease_is_extended_for_as_long_as_the_message_is_handled(
    script: LocalReceiver, scripted: Script
) -> None:
    with (
        Client(base(script), KEY) as client,
        client.inbox().consume(lease_s=LEASE_S, wait_s=0) as messages,
    ):
        for message in messages:
            scripted.wait_for("extend", 2)
            assert not message.lost
            break
    extends = [
        body for verb, body in zip(scripted.verbs, scripted.bodies, strict=True) if verb == "extend"
    ]
    assert all(body == {"receipts": ["r1"], "lease_s": LEASE_S} for body in extends)
    assert scripted.verbs.count("ack") == 1


def test_a_message_that_is_lost_is_known_to_be(script: LocalReceiver, scripted: Script) -> None:
    scripted.extended = scripted.settled = "lease_lost"
    with (
        Client(base(script), KEY) as client,
        client.inbox().consume(lease_s=LEASE_S, wait_s=0) as messages,
    ):
        for message in messages:
            scripted.wait_for("extend")
            while not message.lost:
                pass
            with pytest.raises(LeaseLost):
                message.ack()
            break
    assert scripted.verbs.count("ack") == 1


def test_an_acknowledgement_that_came_too_late_is_in_the_log(
    script: LocalReceiver, scripted: Script, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.settled = "lease_lost"
    with connect(base(script), KEY).inbox("orders").consume(wait_s=0) as messages:
        next(iter(messages))
    assert "evt_1 had ended before" in caplog.text


def test_a_service_that_is_away_for_a_while_is_asked_again(
    script: LocalReceiver, scripted: Script, connect: Connect
) -> None:
    script.replies(
        refusal(503, "store-unavailable", after="600"), refusal(503, "draining", after="600")
    )
    with connect(base(script), KEY).inbox().consume(wait_s=0) as messages:
        assert next(iter(messages)).payload == 1
    assert "ack" in scripted.verbs


def test_a_named_inbox_is_asked_by_its_name(
    script: LocalReceiver, scripted: Script, connect: Connect
) -> None:
    with connect(base(script), KEY).inbox("a/b").consume(wait_s=0, types=["x"]) as messages:
        next(iter(messages))
    assert scripted.verbs[0] == "pull"
    assert script.requests[0].path.startswith("/api/inboxes/a")
    assert scripted.bodies[0] == {"limit": 10, "lease_s": 30.0, "types": ["x"]}


def test_a_consumer_ends_while_the_service_says_nothing(
    script: LocalReceiver,
) -> None:
    asked = threading.Event()

    async def silent(_: Received) -> web.Response:
        asked.set()
        await asyncio.sleep(30)
        return web.Response()

    script.always(silent)
    with Client(base(script), KEY) as client:
        consumer = client.inbox().consume()

        def end() -> None:
            asked.wait(20)
            consumer.stop()

        ender = threading.Thread(target=end)
        ender.start()
        with consumer as messages:
            assert [*messages] == []
        ender.join()


# ── decided without I/O ───────────────────────────────────────────────────────────────────────────


def plan(**options: Any) -> Consumption:  # noqa: ANN401
    given = {
        "name": None, "types": None, "prefetch": 4, "lease_s": 10.0, "wait_s": 0.0,
        "hold_for_s": 60.0, "retry_delay_s": retry_delay_s, "stop_on": (),
    }  # fmt: skip
    return Consumption(**(given | options))


def items(*receipts: str) -> list[InboxItem]:
    return [InboxItem(id=f"evt_{each}", receipt=each) for each in receipts]


def test_no_more_is_pulled_than_may_wait_and_not_for_each_one_alone() -> None:
    holding = Holding(plan())
    assert holding.wanted() == 4
    holding.pulled(items("a", "b", "c"), 0.0)
    assert holding.wanted() == 0
    holding.take(0.0)
    assert holding.wanted() == 2


def test_what_was_lost_while_it_waited_is_not_handed_out() -> None:
    holding = Holding(plan())
    holding.pulled(items("a"), 0.0)
    holding.pulled(items("b"), 5.0)
    held = holding.take(9.5)
    assert held is not None
    assert held.item.receipt == "b"
    assert holding.take(9.5) is None


def test_leases_are_extended_at_half_of_their_time_until_it_is_enough() -> None:
    holding = Holding(plan(hold_for_s=12.0))
    holding.pulled(items("a"), 0.0)
    held = holding.take(0.0)
    assert held is not None
    assert holding.to_extend(3.9) == []
    assert holding.to_extend(4.1) == [held]
    holding.extended([held], [InboxResult(status="extended")], asked_at=4.1)
    assert holding.to_extend(9.0) == []
    assert holding.to_extend(9.5) == [held]
    holding.extended([held], [InboxResult(status="extended")], asked_at=9.5)
    # It is held for longer than anybody should take: whoever has it hangs.
    assert holding.to_extend(15.0) == []
    assert holding.is_lost(held, 19.6)


def test_what_is_settled_is_neither_extended_nor_settled_again() -> None:
    holding = Holding(plan())
    holding.pulled(items("a"), 0.0)
    held = holding.take(0.0)
    assert held is not None
    holding.acked(held)
    holding.nacked(held, 1.0)
    assert holding.to_extend(5.0) == []
    assert holding.outgoing() == ([held], {})
    assert holding.outgoing() == ([], {})


def test_what_waits_is_given_back_at_once() -> None:
    holding = Holding(plan())
    holding.pulled(items("a", "b"), 0.0)
    holding.release()
    acks, nacks = holding.outgoing()
    assert acks == []
    assert [held.item.receipt for held in nacks[0.0]] == ["a", "b"]
    assert holding.take(0.0) is None


def test_a_message_that_fails_is_put_off_for_longer_each_time() -> None:
    delays = [
        retry_delay_s(InboxItem(id="e", receipt="r", receive_count=count))
        for count in (0, 1, 2, 3, 9, 10, 10_000)
    ]
    assert delays == [1, 1, 2, 4, 256, 300, 300]


def test_what_is_sent_is_json(script: LocalReceiver, scripted: Script, connect: Connect) -> None:
    inbox = connect(base(script), KEY).inbox()
    inbox.nack(receipts=["r1"], delay_s=2.5)
    assert json.loads(script.requests[-1].body) == {"receipts": ["r1"], "delay_s": 2.5}
    assert scripted.verbs == ["nack"]
