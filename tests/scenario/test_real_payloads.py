"""Real webhooks of GitHub, all of those that are bundled, from the POST to the receiver."""

from __future__ import annotations

from tests.conftest import Enter, MakeService, Run

from triggers_api.demo import payloads
from triggers_api.testing import Receiver


def test_every_payload_arrives_and_is_found_byte_for_byte(
    run: Run, enter: Enter, make_service: MakeService
) -> None:
    receiver, service = enter(Receiver()), enter(make_service())
    examples = payloads()
    assert len(examples) == 329

    async def main() -> None:
        secret = (await service.subscribe(receiver.url, ["github.*"]))["secret"]
        sent: dict[str, tuple[str, bytes]] = {}
        for event_type, payload in examples:
            body = b'{"type":"%b","payload":%b}' % (event_type.encode(), payload)
            answer = await service.call("POST", "/api/events", body)
            assert answer.status == 202
            sent[answer.json["id"]] = event_type, payload
        await receiver.wait_for(len(examples), timeout_s=20)
        assert sorted(receiver.ids) == sorted(sent)
        for request in receiver.requests:
            event_type, payload = sent[request.headers["webhook-id"]]
            begin, data = request.body.split(b'"data":', 1)
            assert data == payload + b"}"
            assert begin.startswith(b'{"type":"%b","timestamp":"' % event_type.encode())
            assert request.headers["x-triggers-event-type"] == event_type
            request.verify(secret, now=int(request.headers["webhook-timestamp"]))
        for event_id, (_, payload) in sent.items():
            found = await service.call("GET", f"/api/events/{event_id}")
            assert b'"payload":%b,"dedup_id"' % payload in found.body

    run(main())
