"""HTTP/1.1 on bytes, however they are cut into packets."""

import json

import pytest

from triggers_api.bench.errors import RunFailed
from triggers_api.bench.http1 import (
    DEDUP_ID_LENGTH,
    SHORTEST_PAYLOAD,
    Request,
    Response,
    event_requests,
    header_of,
    headers_of,
    payloads,
    scan_request,
    scan_response,
)

HEAD = b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\nContent-Length: 7\r\n\r\n"
ACCEPTED = HEAD + b'{"a":1}'
WEBHOOK = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1:1\r\nWebhook-Id: evt_1\r\nContent-Length: 2\r\n\r\n{}"
)


def test_a_response_is_found_with_its_status_and_body() -> None:
    found = scan_response(ACCEPTED)
    assert found == Response(202, len(HEAD), len(ACCEPTED))
    assert ACCEPTED[found.body : found.end] == b'{"a":1}'


@pytest.mark.parametrize("cut", range(len(ACCEPTED)))
def test_a_response_is_not_complete_before_its_last_byte(cut: int) -> None:
    assert scan_response(ACCEPTED[:cut]) is None


def test_what_follows_a_response_is_left_alone() -> None:
    found = scan_response(ACCEPTED + b"HTTP/1.1 500")
    assert found is not None
    assert found.end == len(ACCEPTED)


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body_and_need_no_length(status: int) -> None:
    content = b"HTTP/1.1 %d Whatever\r\ndate: now\r\n\r\n" % status
    assert scan_response(content) == Response(status, len(content), len(content))


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-content-length: 2\r\n\r\nok",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    ],
    ids=["chunked", "until the connection ends", "not HTTP"],
)
def test_what_would_be_counted_wrongly_is_refused(content: bytes) -> None:
    with pytest.raises(RunFailed):
        scan_response(content)


@pytest.mark.parametrize("cut", range(len(WEBHOOK)))
def test_a_request_is_not_complete_before_its_last_byte(cut: int) -> None:
    assert scan_request(WEBHOOK[:cut]) is None


def test_a_request_is_found_at_the_beginning_of_several() -> None:
    found = scan_request(WEBHOOK * 2)
    assert found == Request(len(WEBHOOK) - 2, len(WEBHOOK))


def test_a_request_may_have_no_body() -> None:
    content = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
    assert scan_request(content) == Request(len(content), len(content))


def test_a_header_is_found_in_any_case_and_not_inside_another_ones_name() -> None:
    head = b"POST / HTTP/1.1\r\nx-webhook-id: no\r\nWEBHOOK-ID:  evt_1 \r\n\r\n"
    assert header_of(head, b"webhook-id") == b"evt_1"
    assert header_of(head, b"id") == b""


def test_all_headers_by_lower_case_name() -> None:
    head = WEBHOOK[: -len(b"{}")]
    assert headers_of(head) == {"host": "127.0.0.1:1", "webhook-id": "evt_1", "content-length": "2"}


@pytest.mark.parametrize("size", [SHORTEST_PAYLOAD, 12, 13, 512, 10_000])
def test_payloads_are_json_of_the_size_that_is_asked_for(size: int) -> None:
    made = payloads(size, count=3, seed=1)
    assert [len(payload) for payload in made] == [size] * 3
    for payload in made:
        json.loads(payload)


def test_payloads_differ_and_can_be_made_again() -> None:
    assert len(set(payloads(64, count=10, seed=1))) == 10
    assert payloads(64, count=10, seed=1) == payloads(64, count=10, seed=1)


@pytest.mark.parametrize("dedup", [False, True])
def test_a_prepared_request_is_a_whole_request_for_an_event(dedup: bool) -> None:  # noqa: FBT001
    (parts,) = event_requests(
        host="127.0.0.1:8000",
        path="/api/events",
        key="trg_key",
        event_type="bench.x",
        payloads=[b'{"data":"x"}'],
        dedup=dedup,
    )
    dedup_id = b"d" * DEDUP_ID_LENGTH if dedup else b""
    content = parts.before + dedup_id + parts.after
    found = scan_request(content)
    assert found is not None
    assert found.end == len(content)
    head, body = content[: found.body], content[found.body :]
    assert head.startswith(b"POST /api/events HTTP/1.1\r\n")
    assert header_of(head, b"authorization") == b"Bearer trg_key"
    expected = {"type": "bench.x", "payload": {"data": "x"}}
    assert json.loads(body) == expected | ({"dedup_id": dedup_id.decode()} if dedup else {})
