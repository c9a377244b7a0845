"""Real webhooks of GitHub, and payloads that no parser keeps, by every way in which they come back."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Final, Self

import aiohttp
from tests.conftest import Enter, MakeService, Run

from triggers_api.demo import payloads
from triggers_api.testing import API_KEY, Receiver, Service

NASTY: Final = (
    b"123456789012345678901234567890",
    b"-0.0",
    b"1e400",
    b"1E-400",
    b"0.1000000000000000055511151231257827",
    b'{"a":1,"a":2,"b":{"a":3,"a":4}}',
    b'{"":0,"\\u0061":1,"a":2}',
    b'"\\u0000"',
    b'"\\ud83d\\ude00 \xf0\x9f\x98\x80 \\/ / \\u002F"',
    b'"\xe2\x80\xa8\xe2\x80\xa9\x7f"',
    b'"\\n\\r\\t\\b\\f\\"\\\\"',
    b'[ 1 ,\t2 ,  {  "x" : [ ] } ]',
    b'{"payload":{"payload":null},"dedup_id":"no","data":"x"}',
    b'"data: x\\n\\nid: evt_1\\n\\n"',
    b"null",
    b"[]",
    b'""',
)
"""What a parser and its writer would not give back as it came."""

OURS: Final = {"id", "type", "received_at"}
"""Members of the flat shape that are not the payload's."""

Sent = Mapping[str, tuple[str, bytes]]

PATIENCE_S: Final = 60.0


def shown(event_id: str, sent: Sent) -> bytes:
    """How an event object begins, up to what follows the payload."""
    event_type, payload = sent[event_id]
    head = b'"id":"%b","type":"%b","payload":%b,"dedup_id"'
    return head % (event_id.encode(), event_type.encode(), payload)


async def send_all(service: Service) -> dict[str, tuple[str, bytes]]:
    """Half of them one by one, half in batches, as JSON and as lines."""
    examples = payloads()
    assert len(examples) == 329
    examples += [("nasty", payload) for payload in NASTY]
    bodies = [b'{"type":"%b","payload":%b}' % (name.encode(), each) for name, each in examples]
    sent = {}
    alone = bodies[::2]
    for example, body in zip(examples[::2], alone, strict=True):
        answer = await service.call("POST", "/api/events", body)
        assert answer.status == 202, answer
        sent[answer.json["id"]] = example
    # A line of lines of JSON ends with the first line feed; none of these has one.
    together = bodies[1::2]
    middle = len(together) // 2
    for start, end, kind, batch in (
        (0, middle, "application/json", b"[%b]" % b",".join(together[:middle])),
        (middle, len(together), "application/x-ndjson", b"\n".join(together[middle:])),
    ):
        answer = await service.call(
            "POST", "/api/events/batch", batch, headers={"Content-Type": kind}
        )
        assert answer.status == 202, answer
        for example, result in zip(examples[1::2][start:end], answer.json["results"], strict=True):
            sent[result["id"]] = example
    return sent


class Follower:
    """Reads the stream of events from now on."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.data: dict[str, bytes] = {}
        """By id, the bytes of the event object."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(trust_env=False, read_bufsize=1 << 22)
        self._answer = await self._session.get(
            f"{self._service.url}/api/events/stream", headers={"Authorization": f"Bearer {API_KEY}"}
        )
        assert self._answer.status == 200
        return self

    async def __aexit__(self, *_: object) -> None:
        self._answer.close()
        await self._session.close()

    async def follow(self, count: int) -> None:
        """Until so many have come."""
        event_id = ""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.data) < count:
                line = (await self._answer.content.readline()).rstrip(b"\n")
                if line.startswith(b"id: "):
                    event_id = line[4:].decode()
                elif line.startswith(b"data: "):
                    self.data[event_id] = line[6:]


def test_every_payload_arrives_and_is_found_byte_for_byte(
    run: Run, enter: Enter, make_service: MakeService
) -> None:
    standard, raw, service = enter(Receiver()), enter(Receiver()), enter(make_service())

    async def main() -> None:
        secret = (await service.subscribe(standard.url, ["*"]))["secret"]
        await service.subscribe(raw.url, ["*"], payload_format="raw")
        async with Follower(service) as follower:
            sent = await send_all(service)
            await follower.follow(len(sent))
        await delivered_as_sent(standard, raw, sent, secret)
        assert set(follower.data) == set(sent)
        for event_id, data in follower.data.items():
            assert shown(event_id, sent) in data
        await found_as_sent(service, sent)
        await pulled_as_sent(service, sent)
        await polled_as_sent(service, sent)

    run(main(), within_s=110)


async def delivered_as_sent(standard: Receiver, raw: Receiver, sent: Sent, secret: str) -> None:
    """By webhook, in the formats that keep the bytes."""
    for receiver in (standard, raw):
        await receiver.wait_for(len(sent), timeout_s=PATIENCE_S)
        assert sorted(receiver.ids) == sorted(sent)
    for request in standard.requests:
        event_type, payload = sent[request.headers["webhook-id"]]
        begin, data = request.body.split(b'"data":', 1)
        assert data == payload + b"}"
        assert begin.startswith(b'{"type":"%b","timestamp":"' % event_type.encode())
        assert request.headers["x-triggers-event-type"] == event_type
        request.verify(secret, now=int(request.headers["webhook-timestamp"]))
    for request in raw.requests:
        assert request.body == sent[request.headers["webhook-id"]][1]


async def found_as_sent(service: Service, sent: Sent) -> None:
    """By id, in lists, and by search."""
    for event_id in sent:
        found = await service.call("GET", f"/api/events/{event_id}")
        assert shown(event_id, sent) in found.body
    listed = (await service.call("GET", "/api/events?limit=1000")).body
    assert listed.count(b'"id":"evt_') == len(sent)
    for event_id in sent:
        assert shown(event_id, sent) in listed
    by_word: dict[str, list[str]] = {}
    for event_id, (event_type, payload) in sent.items():
        words = re.findall(rb"\b[a-z]{5,}\b", payload) if event_type != "nasty" else []
        if words:
            by_word.setdefault(words[len(words) // 2].decode(), []).append(event_id)
    assert len(by_word) > 30
    for word, event_ids in by_word.items():
        found = await service.call("GET", f"/api/events?q={word}&limit=1000")
        for event_id in event_ids:
            assert shown(event_id, sent) in found.body, word
    (numbered,) = [event_id for event_id in sent if sent[event_id][1] == NASTY[5]]
    found = await service.call("GET", "/api/events?type=nasty&payload.b.a=4")
    assert shown(numbered, sent) in found.body


async def pulled_as_sent(service: Service, sent: Sent) -> None:
    """From the inbox, looked into and pulled until it is empty."""
    looked, pulled = b"", b""
    address = "/api/inbox?limit=1000"
    cursor: str | None = ""
    while cursor is not None:
        page = await service.call("GET", address + (f"&cursor={cursor}" if cursor else ""))
        assert page.status == 200, page
        looked, cursor = looked + page.body, page.json["next_cursor"]
    count = 0
    async with asyncio.timeout(PATIENCE_S):
        while count < len(sent):
            batch = await service.call("POST", "/api/inbox/pull", {"limit": 100, "wait_s": 1})
            assert batch.status == 200, batch
            receipts = [each["receipt"] for each in batch.json["data"]]
            if receipts:
                await service.call("POST", "/api/inbox/ack", {"receipts": receipts})
            pulled, count = pulled + batch.body, count + len(receipts)
    for event_id in sent:
        assert shown(event_id, sent) in looked
        assert shown(event_id, sent) in pulled


async def polled_as_sent(service: Service, sent: Sent) -> None:
    """From the list for no-code tools, whose objects have the payload's members among their own."""
    whole = 0
    of_type: dict[str, list[str]] = {}
    for event_id, (event_type, _) in sent.items():
        of_type.setdefault(event_type, []).append(event_id)
    for event_type, event_ids in of_type.items():
        polled = (await service.call("GET", f"/api/poll/{event_type}?limit=1000")).body
        for event_id in event_ids:
            payload = sent[event_id][1]
            if not payload.startswith(b"{"):
                assert b'"data":%b' % payload in polled, payload
            elif not OURS & set(json.loads(payload)):  # one of these is told by another name
                assert b",%b}" % payload[1:-1] in polled, payload
                whole += 1
    assert whole > 300
