"""What receivers get in each format; CloudEvents as their official SDK reads them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.errors import MalformedValue
from triggers_api.model.rendering import EventContent, render
from triggers_api.model.subscription import PayloadFormat
from triggers_api.model.timestamp import Timestamp

ODD: Final = (
    b'{"big":1234567890123456789012345,"a":1,"a":2,"nul":"\\u0000","f":1e400, "s" : "\\/\xc3\xa9"}'
)
ID: Final = f"evt_{Timestamp.parse('2026-01-03T01:04:00Z'):012x}700080000000000000ff"
EVENT: Final = EventContent(
    id=ID,
    organization_id="org_1",
    type="order.created",
    sent_at=Timestamp.parse("2025-12-31T23:59:59.5Z"),
    payload=ODD,
)
HEAD: Final = b'{"id":"%b","type":"order.created","received_at":"2026-01-03T01:04:00.000Z"' % (
    ID.encode()
)
OURS: Final = ("id", "type", "received_at")


def event(**fields: Any) -> EventContent:  # noqa: ANN401 - the Struct's own
    return msgspec.structs.replace(EVENT, **fields)


def flat(payload: bytes) -> bytes:
    body, headers = render(PayloadFormat.FLAT, event(payload=payload))
    assert headers == {"content-type": "application/json"}
    return body


def received(payload_format: PayloadFormat, content: EventContent) -> CloudEvent:
    """The event as the SDK makes it of the request, whichever of the two ways it was sent."""
    body, headers = render(payload_format, content)
    read = from_http_event(HTTPMessage(headers=headers, body=body))
    assert isinstance(read, CloudEvent)
    return read


# ── flat ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_payloads_own_fields_stand_beside_ours_byte_for_byte() -> None:
    assert flat(ODD) == HEAD + b"," + ODD[1:]


@pytest.mark.parametrize(
    ("payload", "rest"),
    [
        (b"{}", b"}"),
        (b"{ \n}", b"}"),
        (b'{ "a" : 1 }', b', "a" : 1 }'),
        (b'{"data":{"id":1}}', b',"data":{"id":1}}'),
        (b'{"id":7,"type":"x","received_at":null}',
         b',"payload_id":7,"payload_type":"x","payload_received_at":null}'),
        (b'{"id":1,"a":2,"id":3}', b',"payload_id":1,"a":2,"payload_id":3}'),
        (rb'{"\u0069d":1,"\u0074ype":2}', b',"payload_id":1,"payload_type":2}'),
        (b'{"payload_id":1}', b',"payload_id":1}'),
        (b'{"payload_id":1,"id":2}', b',"payload_payload_id":1,"payload_id":2}'),
        (b'{"a":{"id":1},"id":{"id":2}}', b',"a":{"id":1},"payload_id":{"id":2}}'),
        (b"null", b',"data":null}'),
        (b'"id"', b',"data":"id"}'),
        (b'[{"id":1}]', b',"data":[{"id":1}]}'),
        (b"1234567890123456789012345", b',"data":1234567890123456789012345}'),
    ],
)  # fmt: skip
def test_names_of_ours_make_way_and_what_has_no_fields_goes_under_data(
    payload: bytes, rest: bytes
) -> None:
    assert flat(payload) == HEAD + rest


names = st.builds(
    "".join, st.tuples(st.sampled_from(["", "payload_", "payload_payload_"]), st.sampled_from(OURS))
) | st.sampled_from(["a", "data", "payload_"])


@given(st.dictionaries(names, st.integers()))
def test_ours_win_nothing_is_lost_and_no_name_comes_twice(payload: dict[str, int]) -> None:
    sent = json.loads(flat(json.dumps(payload).encode()), object_pairs_hook=list)
    assert [name for name, _ in sent[:3]] == list(OURS)
    assert [value for _, value in sent[3:]] == list(payload.values())
    assert len({name for name, _ in sent}) == len(sent)
    for (name, _), own in zip(sent[3:], payload, strict=True):
        if own in OURS:
            assert name == f"payload_{own}"
        elif name != own:
            assert (name, own.removeprefix("payload_")) == (f"payload_{own}", own[8:])
            assert own[8:] in payload


def test_what_is_not_json_is_not_sent() -> None:
    with pytest.raises(MalformedValue):
        flat(b'{"id":1')


# ── CloudEvents ───────────────────────────────────────────────────────────────────────────────────

BOTH: Final = pytest.mark.parametrize(
    "payload_format", [PayloadFormat.CLOUDEVENTS, PayloadFormat.CLOUDEVENTS_BINARY]
)


def test_a_structured_cloudevent_holds_the_payload_byte_for_byte() -> None:
    body, headers = render(PayloadFormat.CLOUDEVENTS, EVENT)
    assert headers == {"content-type": "application/cloudevents+json"}
    assert body == (
        b'{"specversion":"1.0","id":"%b","source":"/organizations/org_1","type":"order.created",'
        b'"time":"2025-12-31T23:59:59.500Z","datacontenttype":"application/json","data":%b}'
    ) % (ID.encode(), ODD)


def test_a_binary_one_is_the_payload_with_the_rest_in_headers() -> None:
    body, headers = render(PayloadFormat.CLOUDEVENTS_BINARY, EVENT)
    assert body == ODD
    assert headers == {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": ID,
        "ce-source": "/organizations/org_1",
        "ce-type": "order.created",
        "ce-time": "2025-12-31T23:59:59.500Z",
    }


@BOTH
def test_the_sdk_reads_what_was_sent(payload_format: PayloadFormat) -> None:
    read = received(payload_format, event(key="kündin 7", payload=b'{"n": [1, null]}'))
    assert read.get_attributes() == {
        "specversion": "1.0",
        "id": ID,
        "source": "/organizations/org_1",
        "type": "order.created",
        "time": datetime(2025, 12, 31, 23, 59, 59, 500_000, UTC),
        "subject": "kündin 7",
        "datacontenttype": "application/json",
    }
    assert read.get_data() == {"n": [1, None]}


@BOTH
def test_an_event_that_brought_an_id_and_a_source_along_keeps_them(
    payload_format: PayloadFormat,
) -> None:
    read = received(
        payload_format,
        event(source="https://shop.example/a?b=[c]", dedup_id='https://shop.example/a?b=[c] A 1%"'),
    )
    assert read.get_source() == "https://shop.example/a?b=[c]"
    assert read.get_id() == 'A 1%"'


@BOTH
@pytest.mark.parametrize(
    ("source", "dedup_id", "expected"),
    [
        ("shop", None, ("shop", ID)),
        ("shop", "42", ("shop", ID)),
        ("shop", "shop", ("shop", ID)),
        ("shop", "shop ", ("shop", ID)),
        ("shop", "shop2 42", ("shop", ID)),
        ("shop", "shop 42", ("shop", "42")),
        ("my shop", "my shop 42", ("my%20shop", "42")),
        ("100%", None, ("100%25", ID)),
        ("läden", None, ("l%C3%A4den", ID)),
        (None, "shop 42", ("/organizations/org_1", ID)),
    ],
)
def test_whatever_else_has_a_source_is_known_by_it_as_a_uri_reference(
    payload_format: PayloadFormat,
    source: str | None,
    dedup_id: str | None,
    expected: tuple[str, str],
) -> None:
    _, headers = render(PayloadFormat.CLOUDEVENTS_BINARY, event(source=source, dedup_id=dedup_id))
    read = received(payload_format, event(source=source, dedup_id=dedup_id))
    assert (read.get_source(), read.get_id()) == expected
    assert all(value.isascii() and value.isprintable() for value in headers.values())


@BOTH
def test_metadata_that_can_be_attributes_are(payload_format: PayloadFormat) -> None:
    metadata = {
        "traceid": 'a b%"ü', "region2": "", "Region": "no", "with-dash": "no", "id": "no",
        "source": "no", "data": "no", "time": "no", "lines": "a\nb", "type": "no", "subject": "no",
        "specversion": "no", "datacontenttype": "no", "dataschema": "no",
    }  # fmt: skip
    read = received(payload_format, event(metadata=msgspec.json.encode(metadata)))
    standard = {"specversion", "id", "source", "type", "time", "datacontenttype"}
    assert {
        name: value for name, value in read.get_attributes().items() if name not in standard
    } == {"traceid": 'a b%"ü', "region2": ""}
    assert (read.get_id(), read.get_type()) == (ID, "order.created")


def test_an_attribute_that_is_no_text_stays_what_it_is() -> None:
    content = event(metadata=b'{"sequence":7,"sampled":true}', payload=b"1")
    assert received(PayloadFormat.CLOUDEVENTS, content).get_extension("sequence") == 7
    _, headers = render(PayloadFormat.CLOUDEVENTS_BINARY, content)
    assert (headers["ce-sequence"], headers["ce-sampled"]) == ("7", "true")


@BOTH
@pytest.mark.parametrize("payload", [b"null", b"0", b'"text"', b"[]", b"{}", b"false"])
def test_any_json_value_is_data(payload_format: PayloadFormat, payload: bytes) -> None:
    assert received(payload_format, event(payload=payload)).get_data() == json.loads(payload)
