"""Bad input: the rows of the research, as the contract settles them. Refused by the book, never a 500.

A case carries the number of its row, so that the last test can say that none was left out.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import Run
from tests.http.conftest import (
    BODY,
    JSON,
    Connect,
    assert_problem,
    chunked,
    chunked_event,
    connect,
    event,
    impatience,
    once,
    stored,
    written,
)

from triggers_api.testing import ADMIN_KEY, API_KEY, Service

MIB: Final = 1 << 20
ROOM: Final = MIB - len(b'{"type":"order.created","payload":""}')
"""Characters that a text may have as the payload of a body that just fits."""
DEEP: Final = 64
IN_LATER_ISSUES: Final = {51: 5, 59: 5, 63: 4, 64: 5, 68: 8}
"""Rows about what is not built yet, and the issue that builds it."""
IN_OTHER_FILES: Final = {
    44: "test_connections",
    58: "test_ingest",
    33: "test_slow_clients",
    34: "test_slow_clients",
    47: "test_isolation",
    48: "test_isolation",
    53: "test_lists",
    65: "test_rate_limit",
    66: "test_ingest",
}

PARSER: Final = None
"""The code of what the HTTP parser itself refuses: no problem details, and the connection ends."""


class Bad(NamedTuple):
    """A request and its refusal."""

    row: int
    what: str
    request: bytes
    status: int
    code: str | None


class Taken(NamedTuple):
    """A payload that is odd and allowed: it comes back byte for byte."""

    row: int
    what: str
    payload: bytes


def with_payload(payload: bytes) -> bytes:
    return b'{"type":"order.created","payload":%b}' % payload


def with_field(name: str, value: Any) -> bytes:  # noqa: ANN401 - JSON
    given_ = {"type": "order.created", "payload": None, name: value}
    return json.dumps({k: v for k, v in given_.items() if v is not ...}).encode()


def bodies(row: int, status: int, code: str, /, **cases: bytes) -> Iterator[Bad]:
    for what, body in cases.items():
        yield Bad(row, what, event(body=body), status, code)


def requests(row: int, status: int, code: str | None, /, **cases: bytes) -> Iterator[Bad]:
    for what, request in cases.items():
        yield Bad(row, what, request, status, code)


def subscriptions(row: int, /, **cases: Mapping[str, object]) -> Iterator[Bad]:
    for what, fields in cases.items():
        given_ = {"url": "https://93.184.215.14/hook", "event_types": ["*"], **fields}
        body = json.dumps(given_).encode()
        request = written("POST", "/api/subscriptions", JSON, body=body)
        yield Bad(row, what, request, 422, "validation-failed")


def urls(*targets: str) -> Iterator[Bad]:
    for url in targets:
        yield from subscriptions(60, **{url[:40]: {"url": url}})


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def labels(name: str, length: int) -> dict[str, bytes]:
    """What a text that callers name things with must not be."""
    return {
        f"{name} empty": with_field(name, ""),
        f"{name} too long": with_field(name, "x" * (length + 1)),
        f"{name} with a line break": with_field(name, "a\r\nX-Injected: 1"),
        f"{name} with NUL": with_field(name, "a\0b"),
        f"{name} with a line separator": with_field(name, "a\u2028b"),
        f"{name} a number": with_field(name, 1),
        f"{name} true": with_field(name, True),
        f"{name} a list": with_field(name, ["a"]),
        f"{name} an object": with_field(name, {}),
    }


MOMENTS = (
    "9999-01-01T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "2026-11-22T24:00:00Z",
    "2026-11-22T20:24:41",
    "2026-11-22",
    "2026-12-31T23:59:60Z",
    "2026-02-30T00:00:00Z",
    "1795000000000",
    "yesterday",
    "",
)

JSON_DOCUMENTS = {
    "truncated": b'{"type":"a","payload":1',
    "trailing comma": b'{"type":"a","payload":1,}',
    "comment": b'{"type":"a",/* why */"payload":1}',
    "single quotes": b"{'type':'a','payload':1}",
    "leading zero": with_payload(b"01"),
    "hexadecimal": with_payload(b"0x1"),
    "plus sign": with_payload(b"+1"),
    "no digit before the point": with_payload(b".5"),
    "no digit after the point": with_payload(b"1."),
    "unquoted key": b'{type:"a","payload":1}',
    "bare word": b"payload",
    "open string": b'{"type":"a","payload":"',
    "open escape": b'{"type":"a","payload":"\\',
    "unknown escape": with_payload(b'"\\x41"'),
    "short escape": with_payload(b'"\\u12"'),
}

CHARSETS = ("latin-1", "utf-16", "us-ascii", "", "utf-8x")
MEDIA_TYPES = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/xml",
    "application/jsonx",
    "application/json, text/plain",
    "text/json",
    "*/*",
    ";",
    "",
)

BAD: Final = (
    *bodies(1, 400, "invalid-json", empty=b"", whitespace=b" \r\n\t "),
    *bodies(2, 400, "invalid-json", **JSON_DOCUMENTS),
    *bodies(
        3,
        400,
        "invalid-json",
        two_documents=BODY + BODY,
        two_lines=BODY + b"\n" + BODY,
        trailing_word=BODY + b"x",
        trailing_nul=BODY + b"\0",
    ),
    *bodies(
        4, 422, "validation-failed", array=b"[]", text=b'"a"', number=b"1", null=b"null", true=b"true"
    ),
    *bodies(5, 400, "invalid-encoding", bom=codecs.BOM_UTF8 + BODY),
    *bodies(
        6,
        400,
        "invalid-encoding",
        latin_1=with_payload('"é"'.encode("latin-1")),
        overlong=with_payload(b'"\xc0\xaf"'),
        surrogates_in_utf8=with_payload(b'"\xed\xa0\xbd\xed\xb8\x80"'),
        beyond_unicode=with_payload(b'"\xf4\x90\x80\x80"'),
        cut_off=with_payload(b'"\xe2\x82"'),
        utf_16=BODY.decode().encode("utf-16"),
        in_a_key=with_payload(b'{"\xff":1}'),
    ),
    *bodies(
        6,
        400,
        "invalid-json",
        utf_16_without_mark=BODY.decode().encode("utf-16-le"),
        utf_32_without_mark=BODY.decode().encode("utf-32-be"),
    ),
    *bodies(
        7,
        400,
        "invalid-json",
        nan=with_payload(b"NaN"),
        infinity=with_payload(b"Infinity"),
        minus_infinity=with_payload(b"-Infinity"),
        nan_inside=with_payload(b'{"a":[NaN]}'),
    ),
    *bodies(10, 422, "validation-failed", big_integer_as_type=with_field("type", 1 << 80)),
    *bodies(
        12,
        400,
        "too-deep",
        one_too_many=with_payload(nested(DEEP + 1)),
        objects=with_payload(b'{"a":' * (DEEP + 1) + b"1" + b"}" * (DEEP + 1)),
        hundred_thousand=nested(100_000),
        never_closed=b"[" * 100_000,
        unknown_field=b'{"type":"a","payload":1,"x":%b}' % nested(100_000),
    ),
    *bodies(13, 413, "too-large", million_arrays=with_payload(b"[%b]" % b",".join([b"[]"] * MIB))),
    *bodies(
        17,
        400,
        "invalid-json",
        lone_high=with_payload(b'"\\ud800"'),
        lone_low=with_payload(b'"\\udc00"'),
        reversed=with_payload(b'"\\udc00\\ud800"'),
        in_a_key=with_payload(b'{"\\ud83d":1}'),
        in_a_field=b'{"type":"a","payload":1,"dedup_id":"\\ud800"}',
    ),
    *bodies(
        18,
        422,
        "validation-failed",
        type=with_field("type", "a\0b"),
        metadata_key=with_field("metadata", {"a\0": "b"}),
        metadata_value=with_field("metadata", {"a": "\0"}),
    ),
    *bodies(
        19,
        400,
        "invalid-json",
        line_feed=with_payload(b'"a\nb"'),
        nul=with_payload(b'"a\0b"'),
        escape=with_payload(b'"\x1b[31m"'),
    ),
    *bodies(
        20,
        422,
        "validation-failed",
        right_to_left=with_field("type", "order\u202ecreated"),
        zero_width=with_field("type", "order\u200bcreated"),
        confusable=with_field("type", "\u043erder.created"),
        full_width_digit=with_field("type", "order\uff11"),
    ),
    *bodies(
        22,
        422,
        "validation-failed",
        missing=b'{"payload":1}',
        null=with_field("type", None),
        empty=with_field("type", ""),
        too_long=with_field("type", "x" * 256),
        star=with_field("type", "order.*"),
        space=with_field("type", "order created"),
        line_end=with_field("type", "order\n"),
        no_payload=b'{"type":"a"}',
        nothing=b"{}",
    ),
    *bodies(23, 422, "validation-failed", **labels("dedup_id", 512)),
    *bodies(26, 422, "validation-failed", **labels("source", 255), **labels("key", 255)),
    *bodies(
        24,
        422,
        "validation-failed",
        unknown=with_field("colour", "red"),
        capital=with_field("Type", "a"),
        proto=with_field("__proto__", {}),
        id=with_field("id", "evt_1"),
        null=with_field("colour", None),
        long_name=with_field("x" * 100_000, 1),
    ),
    *bodies(
        25,
        422,
        "validation-failed",
        tenant_id=with_field("tenant_id", "org_1"),
        organization_id=with_field("organization_id", "org_1"),
    ),
    *bodies(
        26,
        422,
        "validation-failed",
        type_a_number=with_field("type", 1),
        type_a_list=with_field("type", ["a"]),
        metadata_a_list=with_field("metadata", []),
        metadata_a_text=with_field("metadata", "a"),
        metadata_of_numbers=with_field("metadata", {"a": 1}),
        metadata_of_null=with_field("metadata", {"a": None}),
        metadata_of_objects=with_field("metadata", {"a": {}}),
        metadata_with_65_entries=with_field("metadata", {str(n): "" for n in range(65)}),
        metadata_with_long_value=with_field("metadata", {"a": "x" * 1025}),
        metadata_with_long_key=with_field("metadata", {"x" * 129: ""}),
    ),
    *bodies(
        27,
        422,
        "validation-failed",
        **{f"occurred_at {moment}": with_field("occurred_at", moment) for moment in MOMENTS},
        **{f"deliver_at {moment}": with_field("deliver_at", moment) for moment in MOMENTS},
        epoch_number=with_field("occurred_at", 1_795_000_000_000),
    ),
    *bodies(28, 413, "too-large", one_too_many=with_payload(b'"%b"' % (b"x" * (ROOM + 1)))),
    *requests(
        29,
        413,
        "too-large",
        huge_length=written("POST", "/api/events", JSON, "Content-Length: 99999999") + BODY,
        length_beyond_memory=written(
            "POST", "/api/events", JSON, "Content-Length: 9999999999999999999"
        ),
    ),
    *requests(
        30,
        400,
        PARSER,
        negative=written("POST", "/api/events", JSON, "Content-Length: -1") + BODY,
        two_lengths=event("Content-Length: 3"),
        plus=written("POST", "/api/events", JSON, "Content-Length: +5") + BODY,
        underscore=written("POST", "/api/events", JSON, "Content-Length: 1_0") + BODY,
        beyond_64_bits=written("POST", "/api/events", JSON, f"Content-Length: {'9' * 30}") + BODY,
    ),
    *requests(
        31, 413, "too-large", endless=chunked_event(body=with_payload(b'"%b"' % (b"x" * MIB)))
    ),
    *requests(
        32,
        400,
        PARSER,
        both=event("Transfer-Encoding: chunked"),
        unknown_coding=written("POST", "/api/events", JSON, "Transfer-Encoding: xchunked") + BODY,
        chunked_not_last=written("POST", "/api/events", JSON, "Transfer-Encoding: chunked, gzip")
        + BODY,
        bad_size=written("POST", "/api/events", JSON, "Transfer-Encoding: chunked") + b"zz\r\n",
        bare_line_feeds=event().replace(b"\r\n", b"\n"),
        space_before_colon=event("X-A : 1"),
    ),
    *(
        Bad(35, f"media type {kind}", event().replace(b"application/json", kind.encode()), 415,
            "unsupported-media-type")
        for kind in MEDIA_TYPES
    ),
    Bad(35, "no media type", written("POST", "/api/events", body=BODY), 415,
        "unsupported-media-type"),
    *(
        Bad(36, f"charset {name}", event().replace(b"json", f"json; charset={name}".encode()), 415,
            "unsupported-media-type")
        for name in CHARSETS
    ),
    *requests(37, 415, "unsupported-media-type", gzip=event("Content-Encoding: gzip")),
    *requests(
        38,
        415,
        "unsupported-media-type",
        stacked=event("Content-Encoding: gzip, gzip"),
        br=event("Content-Encoding: br"),
        zstd=event("Content-Encoding: zstd"),
        deflate=chunked_event("Content-Encoding: deflate"),
    ),
    *requests(
        39,
        401,
        "unauthorized",
        expect_without_key=written(
            "POST", "/api/events", JSON, "Content-Length: 99", "Expect: 100-continue", key="nobody-0"
        ),
    ),
    *requests(
        39,
        413,
        "too-large",
        expect_too_much=written(
            "POST", "/api/events", JSON, f"Content-Length: {2 * MIB}", "Expect: 100-continue"
        ),
    ),
    *requests(
        40,
        405,
        "method-not-allowed",
        put=written("PUT", "/api/events", JSON, body=BODY),
        patch=written("PATCH", "/api/events", JSON, body=BODY),
        delete=written("DELETE", "/api/events"),
        trace=written("TRACE", "/api/events"),
        propfind=written("PROPFIND", "/api/events"),
        post_to_get=written("POST", "/health", JSON, body=b"{}"),
    ),
    *requests(
        40,
        400,
        PARSER,
        lower_case=event().replace(b"POST", b"post"),
        unknown_method=event().replace(b"POST", b"BREW!"),
        connect=written("CONNECT", "example.com:443"),
    ),
    *requests(
        41,
        415,
        "unsupported-media-type",
        # With the override heeded this would be a 404.
        method_override=written(
            "POST", "/api/events", "X-HTTP-Method-Override: DELETE", "X-Forwarded-For: 10.0.0.1"
        ),
    ),
    *requests(
        42,
        400,
        PARSER,
        nul=written("GET", "/api/events", "X-A: a\0b"),
        folded=written("GET", "/api/events", "X-A: a\r\n b"),
        naked_carriage_return=written("GET", "/api/events", "X-A: a\rb"),
    ),
    *requests(
        42,
        431,
        PARSER,
        one_of_100_kb=written("GET", "/api/events", f"X-A: {'a' * 100_000}"),
        five_thousand=written("GET", "/api/events", *(f"X-{n}: {n}" for n in range(5000))),
        for_the_lane=event(f"X-A: {'a' * 65_536}"),
    ),
    *requests(
        42,
        400,
        "bad-request",
        two_keys=written("GET", "/api/events", "Authorization: Bearer another-key-0000"),
        two_kinds_of_key=event("X-API-Key: another-key-0000"),
    ),
    *requests(
        43,
        404,
        "not-found",
        long_path=written("GET", f"/{'a' * 16_000}"),
        nul=written("GET", "/api/events/%00"),
        cut_off_escape=written("GET", "/api/events/%"),
        not_utf_8=written("GET", "/api/events/%ff"),
        climbing=written("GET", "/docs/..%2f..%2fetc/passwd"),
        climbing_plainly=written("GET", "/docs/../../etc/passwd"),
        semicolon=written("GET", "/api/events;v=1"),
        nowhere=written("GET", "/api"),
    ),
    *requests(
        43,
        422,
        "validation-failed",
        thousand_parameters=written(
            "GET", f"/api/events?{'&'.join(f'p{n}={n}' for n in range(1000))}"
        ),
        nul_in_a_parameter=written("GET", "/api/events?type=%00"),
        not_utf_8_in_a_parameter=written("GET", "/api/events?type=%ff"),
        unknown_parameter=written("GET", "/api/events?colour=red"),
        unknown_parameter_on_post=written("POST", "/api/events?colour=red", JSON, body=BODY),
        unknown_parameter_without_value=written("GET", "/api/deliveries?colour"),
        unknown_parameter_of_one_thing=written("GET", "/api/organization?verbose=1"),
    ),
    *requests(
        43,
        400,
        PARSER,
        raw_bytes=b"GET /api/events/\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
        space=written("GET", "/api/events/a b"),
    ),
    *requests(
        44,
        400,
        PARSER,
        no_host=event().replace(b"Host: triggers.test\r\n", b""),
        no_host_elsewhere=b"GET /health HTTP/1.1\r\n\r\n",
        two_hosts=event("Host: another.test"),
        two_hosts_elsewhere=written("GET", "/health", "Host: another.test"),
        two_hosts_in_1_0=b"GET /health HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
    ),
    *requests(
        45,
        401,
        "unauthorized",
        no_key=event(key=None),
        no_key_elsewhere=written("GET", "/api/events", key=None),
        unknown=event(key="trg_unknown_0123456789"),
        one_character_more=event(key=f"{API_KEY}x"),
        one_character_less=event(key=API_KEY[:-1]),
        other_case=event(key=API_KEY.upper()),
        empty=event(key=""),
        blank=event(key="   "),
        two_words=event(key=f"{API_KEY} {API_KEY}"),
        not_ascii=event(key="schlüssel-0000000"),
        very_long=event(key="k" * 20_000),
        no_scheme=written("GET", "/api/events", f"Authorization: {API_KEY}", key=None),
    ),
    *requests(
        46,
        401,
        "unauthorized",
        in_the_query=written("GET", f"/api/events?api_key={API_KEY}", key=None),
        in_the_query_of_a_post=written(
            "POST", f"/api/events?api_key={API_KEY}", JSON, body=BODY, key=None
        ),
        basic=written("GET", "/api/events", "Authorization: Basic dHJnOnRlc3Q=", key=None),
        in_a_cookie=written("GET", "/api/events", f"Cookie: api_key={API_KEY}", key=None),
    ),
    *requests(
        49,
        404,
        "not-found",
        **{
            f"{name} {identifier[:20]}": written("GET", f"/api/{name}/{identifier}")
            for name in ("events", "deliveries", "subscriptions")
            for identifier in (
                "1",
                "evt_1",
                "evt_" + "0" * 32,
                "evt_" + "g" * 32,
                "EVT_" + "0" * 32,
                "sub_" + "f" * 32,
                "dlv_" + "9" * 33,
                "1'%20OR%20'1'='1",
                "%27%3B%20DROP%20TABLE%20events%3B--",
                "-1",
                "9" * 5000,
                "evt_%E2%80%AE",
                "null",
                "*",
            )
        },
    ),
    *requests(
        50,
        422,
        "validation-failed",
        **{
            f"type {pattern}": written("GET", f"/api/events?type={pattern}")
            for pattern in (
                "%25", "a%5C", "%27%3B%20DROP%20TABLE%20events%3B--", "a" * 256, "", "(a%2B)%2B$",
            )
        },
    ),
    *requests(
        52,
        422,
        "validation-failed",
        **{
            f"{path} {query}": written("GET", f"/api/{path}?{query}")
            for path in ("events", "deliveries", "dead-letters", "subscriptions")
            for query in (
                "limit=0",
                "limit=-1",
                "limit=1001",
                "limit=1e9",
                "limit=abc",
                "limit=",
                "limit",
                "limit=true",
                "limit=%EF%BC%91",
                "limit=1_0",
                f"limit={'1' * 5000}",
                "limit=1&limit=2",
                "limit=1&limit=1",
            )
        },
    ),
    *requests(
        54,
        422,
        "validation-failed",
        sort=written("GET", "/api/events?sort=payload"),
        order_by=written("GET", "/api/events?order_by=secret"),
    ),
    *requests(
        55,
        422,
        "validation-failed",
        **{
            f"{name} {value}": written("GET", f"/api/{path}?{name}={value}")
            for path in ("events", "deliveries")
            for name in ("since", "until")
            for value in ("yesterday", "1795000000", "2026-11-22", "9999-01-01T00:00:00Z", "")
        },
        status=written("GET", "/api/events?status=lost"),
        status_of_delivery=written("GET", "/api/deliveries?status=queued"),
        status_twice=written("GET", "/api/events?status=queued&status=failed"),
    ),
    *requests(
        56,
        422,
        "validation-failed",
        empty=event("Idempotency-Key: "),
        empty_quoted=event('Idempotency-Key: ""'),
        too_long=event(f"Idempotency-Key: {'k' * 513}"),
        not_utf_8=event("Idempotency-Key: schl\xfcssel"),
        two_values=event("Idempotency-Key: a", "Idempotency-Key: b"),
        differs_from_the_body=event("Idempotency-Key: a", body=with_field("dedup_id", "b")),
    ),
    *bodies(
        57,
        422,
        "validation-failed",
        two_spellings=b'{"type":"a","payload":1,"dedup_id":"a","event_id":"b"}',
        two_types=b'{"type":"a","event_type":"b","payload":1}',
        two_payloads=b'{"type":"a","payload":1,"data":2}',
    ),
    *urls(
        "",
        "ftp://93.184.215.14/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//93.184.215.14/",
        "93.184.215.14",
        "https://",
        "https:///hook",
        "https://user@93.184.215.14/",
        "https://user:secret@93.184.215.14/",
        "https://93.184.215.14:0/",
        "https://93.184.215.14:99999/",
        "https://[::ffff:10.0.0.1]/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fd00::1]/",
        "https://[fe80::1%25eth0]/",
        "https://93.184.215.14/\t",
        "https://93.184.215.14/a b",
        "https://93.184.215.14/\r\nX: 1",
        "https://93.184.215.14/\0",
        "https://93.184.215.14/" + "a" * 10_000,
        " https://93.184.215.14/",
    ),
    *subscriptions(
        60,
        number={"url": 1},
        missing={"url": None},
        types_missing={"event_types": None},
        types_empty={"event_types": []},
        types_too_many={"event_types": ["a"] * 101},
        types_odd={"event_types": ["order created"]},
        types_text={"event_types": "order.created"},
        unknown={"colour": "red"},
        tenant={"organization_id": "org_1"},
        description_long={"description": "x" * 1001},
        description_nul={"description": "\0"},
        timeout_zero={"timeout_s": 0},
        timeout_long={"timeout_s": 31},
        timeout_text={"timeout_s": "30"},
        rate_zero={"rate_limit": 0},
        rate_low={"rate_limit": 0.009},
        rate_high={"rate_limit": 10_000.1},
        rate_text={"rate_limit": "5"},
        concurrency_zero={"max_concurrency": 0},
        concurrency_huge={"max_concurrency": 1 << 70},
        ordering_other={"ordering": "fifo"},
        concurrency_true={"max_concurrency": True},
        schedule_negative={"retry_schedule": [-1]},
        schedule_long={"retry_schedule": [604_801]},
        schedule_many={"retry_schedule": [1] * 51},
        schedule_text={"retry_schedule": "5,30"},
        format_unknown={"payload_format": "xml"},
        expiry_odd={"expires_at": "tomorrow"},
        metadata_number={"metadata": {"a": 1}},
        enabled_text={"enabled": "yes"},
    ),
    *subscriptions(
        61,
        **{
            f"header {name}": {"headers": {name: "x"}}
            for name in (
                "Host", "Content-Length", "webhook-id", "Webhook-Signature", "Transfer-Encoding",
                "X-Triggers-Attempt", "connection", "a b", "a:", "", "é", "a\r\nb", "x" * 129,
            )
        },
        value_with_crlf={"headers": {"X-A": "a\r\nX-Injected: 1"}},
        value_with_nul={"headers": {"X-A": "\0"}},
        value_not_ascii={"headers": {"X-A": "é"}},
        value_too_long={"headers": {"X-A": "x" * 1025}},
        value_a_number={"headers": {"X-A": 1}},
        hundred={"headers": {f"X-{n}": "x" for n in range(100)}},
    ),
    *subscriptions(
        62,
        **{
            f"secret {secret[:20]}": {"secret": secret}
            for secret in (
                "whsec_", "whsec_c2hvcnQ=", "whsec_" + "a" * 200, "whsec_!!!!", "secret",
                "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw!",
            )
        },
    ),
    *requests(
        67,
        403,
        "forbidden",
        not_an_operator=written(
            "PATCH", "/api/admin/controls", JSON, body=b'{"processing":"paused"}'
        ),
        organization_list=written("GET", "/api/admin/organizations"),
    ),
    *(
        Bad(67, body.decode()[:60], written("PATCH", "/api/admin/controls", JSON, body=body,
            key=ADMIN_KEY), 422, "validation-failed")
        for body in (
            b'{"processing":"stopped"}',
            b'{"delivery":true}',
            b'{"ingest":"SYNC"}',
            b'{"concurrency":0}',
            b'{"concurrency":99999999999999999999999}',
            b'{"batch_size":"10"}',
            b'{"min_poll_ms":1.5}',
            b'{"colour":"red"}',
            b'{"processing":"paused","delivery":"stopped"}',
            b'{"reason":"%b"}' % (b"x" * 1001),
            b'{"reason":"\\u0000"}',
            b"[]",
            b"null",
        )
    ),
    *(
        Bad(67, f"organization {body.decode()[:60]}", written("POST", "/api/admin/organizations",
            JSON, body=body, key=ADMIN_KEY), 422, "validation-failed")
        for body in (
            b"{}",
            b'{"name":""}',
            b'{"name":"\\u0000"}',
            b'{"name":"%b"}' % (b"x" * 256),
            b'{"name":"a","rate_limit":-1}',
            b'{"name":"a","rate_burst":0}',
            b'{"name":"a","rate_limit":1e400}',
            b'{"name":"a","rate_limit":99999999999999999999999999}',
            b'{"name":"a","id":"org_1"}',
        )
    ),
    *requests(
        70,
        400,
        PARSER,
        http_2_preface=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        tls_hello=bytes.fromhex("160301020001fc0303") + b"\x41" * 40,
        every_byte=bytes(range(256)),
        nonsense=b"hello\r\n\r\n",
    ),
)  # fmt: skip

TAKEN: Final = (
    Taken(8, "1e400", b"1e400"),
    Taken(8, "beyond a double, inside", b'{"n":-1E+99999}'),
    Taken(9, "1e-400", b"1e-400"),
    Taken(10, "2^53 + 1", b"9007199254740993"),
    Taken(10, "2^63", b"[9223372036854775808,-9223372036854775809]"),
    Taken(10, "25 digits", b'{"id":1234567890123456789012345}'),
    Taken(11, "5000 digits", b"7" * 5000),
    Taken(12, "64 levels", nested(DEEP)),
    Taken(12, "brackets in a text", b'"%b"' % (b"[" * 1000)),
    Taken(13, "50,000 keys", b"{%b}" % b",".join(b'"%d":0' % n for n in range(50_000))),
    Taken(13, "100,000 empty arrays", b"[%b]" % b",".join([b"[]"] * 100_000)),
    Taken(14, "duplicate keys", b'{"a":1,"a":2,"b":{"c":1,"c":1}}'),
    Taken(15, "é twice", '{"é":1,"é":2}'.encode()),
    Taken(16, "names of traps", b'{"__proto__":{"x":1},"constructor":1,"$where":"1"}'),
    Taken(18, "NUL by escape", b'{"a":"x\\u0000y"}'),
    Taken(21, "emoji", '"😀 👩‍👩‍👧 \u202e ﷽ Z͑ͫ̓ͪ̂ͫ̽"'.encode()),
    Taken(21, "escaped emoji", b'"\\ud83d\\ude00"'),
    Taken(21, "escapes of all kinds", rb'"\/\b\f\n\r\t\"\\A"'),
    Taken(26, "null", b"null"),
    Taken(26, "false", b"false"),
    Taken(26, "negative zero", b"-0.0E-0"),
    Taken(26, "empty text", b'""'),
    Taken(28, "exactly the limit", b'"%b"' % (b"x" * ROOM)),
    Taken(69, "line breaks and colours", rb'"\r\n\u001b[31m{} %s %(name)s"'),
)


def named(case: Bad | Taken) -> str:
    return f"{case.row} {case.what}"


async def books(service: Service) -> dict[str, Any]:
    """What is stored, by the server's own count."""
    answers = [
        await service.call("GET", path, key=ADMIN_KEY)
        for path in ("/api/admin/verify", "/api/admin/controls", "/api/admin/organizations")
    ]
    answers.append(await service.call("GET", "/api/subscriptions"))
    assert [answer.status for answer in answers] == [200] * 4
    assert answers[0].json["ok"]
    return {"all": [answer.json for answer in answers]}


@pytest.mark.parametrize("case", BAD, ids=named)
def test_is_refused_by_the_book_and_changes_nothing(
    case: Bad, service: Service, run: Run, dial: Connect
) -> None:
    before = run(books(service))

    async def main() -> None:
        connection = await dial(service)
        await connection.send(case.request)
        answer = await connection.answer()
        if case.code is PARSER:
            assert answer.status == case.status
            assert answer.headers["connection"] == "close"
            assert await connection.rest() == b""
        else:
            assert_problem(answer, case.status, case.code)
        if case.status == 422:
            assert answer.json["errors"]
        if case.status == 405:
            assert answer.headers["allow"]
        # Nothing of ours repeats what may be long, or was never meant to be shown.
        assert len(answer.body) < 2000

    run(main())
    assert run(books(service)) == before


@pytest.mark.parametrize("case", TAKEN, ids=named)
def test_is_taken_and_given_back_byte_for_byte(case: Taken, service: Service, run: Run) -> None:
    async def main() -> None:
        answer = await service.call("POST", "/api/events", with_payload(case.payload))
        assert answer.status == 202, answer
        event_id = answer.json["id"]
        found = await service.call("GET", f"/api/events/{event_id}")
        assert found.status == 200
        assert b'"payload":%b,' % case.payload in found.body
        listed = await service.call("GET", "/api/events?limit=1")
        assert b'"payload":%b,' % case.payload in listed.body

    run(main())


# ── the same rules on the other routes that take JSON ─────────────────────────────────────────────

ROUTES: Final = (
    ("POST", "/api/subscriptions", API_KEY),
    ("PATCH", "/api/subscriptions/{subscription}", API_KEY),
    ("PATCH", "/api/organization", API_KEY),
    ("POST", "/api/admin/organizations", ADMIN_KEY),
    ("PATCH", "/api/admin/organizations/{organization}", ADMIN_KEY),
    ("POST", "/api/admin/organizations/{organization}/keys", ADMIN_KEY),
    ("PATCH", "/api/admin/controls", ADMIN_KEY),
)

BODIES: Final[dict[str, tuple[bytes, int, str]]] = {
    "empty": (b"", 400, "invalid-json"),
    "blank": (b" ", 400, "invalid-json"),
    "truncated": (b'{"name":', 400, "invalid-json"),
    "two documents": (b"{}{}", 400, "invalid-json"),
    "array": (b"[]", 422, "validation-failed"),
    "null": (b"null", 422, "validation-failed"),
    "byte order mark": (codecs.BOM_UTF8 + b"{}", 400, "invalid-encoding"),
    "latin-1": ('{"name":"é"}'.encode("latin-1"), 400, "invalid-encoding"),
    "NaN": (b'{"name":NaN}', 400, "invalid-json"),
    "lone surrogate": (b'{"name":"\\ud800"}', 400, "invalid-json"),
    "raw control": (b'{"name":"\n"}', 400, "invalid-json"),
    "nested": (b'{"name":%b}' % nested(DEEP), 400, "too-deep"),
    "never closed": (b"[" * 100_000, 400, "too-deep"),
    "unknown field": (b'{"colour":1}', 422, "validation-failed"),
    "number beyond a double": (b'{"colour":1e400}', 422, "validation-failed"),
    "5000 digits": (b'{"colour":%b}' % (b"7" * 5000), 422, "validation-failed"),
    "too large": (b'{"name":"%b"}' % (b"x" * MIB), 413, "too-large"),
}


@pytest.fixture(scope="module")
def ids(service: Service, run: Run) -> dict[str, str]:
    """Something to change."""

    async def main() -> dict[str, str]:
        subscription = await service.subscribe("http://127.0.0.1:9/hook")
        organization = await service.call("GET", "/api/organization")
        return {"subscription": subscription["id"], "organization": organization.json["id"]}

    return run(main())


@pytest.mark.parametrize("what", BODIES)
@pytest.mark.parametrize(("method", "path", "key"), ROUTES, ids=lambda value: value)
def test_every_route_reads_json_by_the_same_rules(
    method: str, path: str, key: str, what: str, service: Service, run: Run, ids: dict[str, str]
) -> None:
    body, status, code = BODIES[what]
    before = run(books(service))
    answer = run(once(service, written(method, path.format(**ids), JSON, body=body, key=key)))
    assert_problem(answer, status, code)
    assert run(books(service)) == before


@pytest.mark.parametrize(("method", "path", "key"), ROUTES, ids=lambda value: value)
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "br"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/x-msgpack"},
    ],
    ids=str,
)
def test_every_route_takes_plain_json_only(
    method: str,
    path: str,
    key: str,
    headers: dict[str, str],
    service: Service,
    run: Run,
    ids: dict[str, str],
) -> None:
    answer = run(service.call(method, path.format(**ids), {}, key=key, headers=headers))
    assert_problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "kind", ["application/merge-patch+json", "Application/JSON; charset=UTF-8"]
)
def test_a_merge_patch_may_say_that_it_is_one(
    kind: str, service: Service, run: Run, ids: dict[str, str]
) -> None:
    path = f"/api/subscriptions/{ids['subscription']}"
    answer = run(service.call("PATCH", path, {"description": "d"}, headers={"Content-Type": kind}))
    assert answer.status == 200


def test_a_body_that_comes_in_pieces_is_read_by_the_same_rules(
    service: Service, run: Run, dial: Connect
) -> None:
    head = written("PATCH", "/api/organization", JSON, "Transfer-Encoding: chunked")

    async def main() -> None:
        connection = await dial(service)
        answer = await connection.ask(head, chunked(b'{"name":', b'"pieces"}'))
        assert answer.status == 200
        assert answer.json["name"] == "pieces"
        answer = await connection.ask(head, *(chunked(b"x" * MIB)[:-5], chunked(b"x" * MIB)))
        assert_problem(answer, 413, "too-large")

    run(main())


@pytest.mark.parametrize(
    "path",
    [
        "/api/subscriptions/{subscription}/pause",
        "/api/subscriptions/{subscription}/resume",
        "/api/subscriptions/{subscription}/rotate-secret",
        "/api/subscriptions/{subscription}/test",
        "/api/deliveries/dlv_1/retry",
        "/api/deliveries/dlv_1/cancel",
    ],
)
def test_an_action_takes_no_body_or_an_empty_object_and_nothing_else(
    path: str, service: Service, run: Run, ids: dict[str, str]
) -> None:
    path = path.format(**ids)
    usual = 404 if "dlv_" in path else 202 if path.endswith("/test") else 200
    bodies: tuple[object, ...] = (None, b"", {}, b" {} ")
    for body in bodies:
        assert run(service.call("POST", path, body)).status == usual
    assert_problem(run(service.call("POST", path, {"a": 1})), 422, "validation-failed")
    assert_problem(run(service.call("POST", path, b"{")), 400, "invalid-json")
    assert_problem(run(service.call("POST", path, [])), 422, "validation-failed")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    for headers in (form, packed):
        answer = run(service.call("POST", path, b"{}", headers=headers))
        assert_problem(answer, 415, "unsupported-media-type")


# ── whatever comes: never a 500 ───────────────────────────────────────────────────────────────────

fuzz = settings(
    max_examples=500,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

_SPLINTERS = st.sampled_from(
    [
        b"\r\n", b"\r\n\r\n", b"\n", b"\0", b" ", b":", b",", b";", b"%", b"%00", b"/", b"?", b"#",
        b"&=", b"*", b"\xff", b"\xc3\xa9", b"\x1b[0m", b'"', b"\\", b"{", b"}", b"[", b"]", b"0", b"-1",
        b"1e400", b"HTTP/1.0", b"HTTP/9.9", b"GET ", b"POST ", b"Content-Length: 7\r\n", b"chunked",
        b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\n",
        b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"Idempotency-Key: \r\n", b"A" * 5000,
        "\u202e\U0001f600".encode(), b"\xed\xa0\x80", b"null", b"application/x-ndjson",
    ]
)  # fmt: skip


@st.composite
def _mangled(draw: st.DrawFn) -> bytes:
    """A good request into which something was put, or of which something was taken."""
    good = draw(
        st.sampled_from(
            [
                event("Idempotency-Key: a"),
                chunked_event(),
                written("GET", "/api/events?limit=2&type=order.*"),
                written("GET", "/api/deliveries?status=dead"),
                written("PATCH", "/api/organization", JSON, body=b'{"name":"n"}'),
                written("POST", "/api/subscriptions/sub_1/pause"),
                written("DELETE", "/api/events/evt_1"),
                written("GET", "/api/admin/verify", key=ADMIN_KEY),
                written("GET", "/docs/problems", key=None),
            ]
        )
    )
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(good)))
        cut = draw(st.integers(0, 8))
        put = draw(_SPLINTERS | st.binary(max_size=6))
        good = good[:at] + put + good[at + cut :]
    return good


@fuzz
@given(request=_mangled())
def test_no_mangled_request_gets_a_500_or_harms_the_server(
    request: bytes, service: Service, run: Run
) -> None:
    async def main() -> None:
        # A request that is not complete is given up at once; on a slow machine others are as well.
        with impatience(head_s=0.02, body_s=0.02):
            connection = await connect(service)
            with suppress(ConnectionError):
                await connection.send(request, written("GET", "/livez", "Connection: close"))
            received = await connection.rest()
        await connection.hang_up()
        assert b"HTTP/1.1 500" not in received
        assert (await once(service, written("GET", "/livez"))).status == 200

    run(main())
    run(stored(service))


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(1 << 60, 1 << 90)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(
        [
            "*",
            "",
            "https://93.184.215.14/",
            "2026-11-22T00:00:00Z",
            "paused",
            "sync",
            "whsec_",
            "\0",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
_FIELDS: Final = {
    "/api/events": (
        "type", "payload", "dedup_id", "source", "key", "occurred_at", "deliver_at", "metadata",
        "event_type", "data", "event_id", "external_id",
    ),
    "/api/subscriptions": (
        "url", "event_types", "description", "headers", "auth", "secret", "payload_format",
        "retry_schedule", "timeout_s", "rate_limit", "max_concurrency", "ordering", "enabled",
        "expires_at",
        "metadata",
    ),
    "/api/subscriptions/{subscription}": (
        "url", "event_types", "headers", "retry_schedule", "timeout_s", "enabled", "expires_at",
    ),
    "/api/organization": ("name", "webhook_url"),
    "/api/admin/organizations": ("name", "rate_limit", "rate_burst"),
    "/api/admin/organizations/{organization}": ("name", "rate_limit", "rate_burst"),
    "/api/admin/organizations/{organization}/keys": ("name", "scopes", "expires_at"),
    "/api/admin/controls": ("concurrency", "batch_size", "min_poll_ms", "reason", "delivery"),
}  # fmt: skip


@st.composite
def _requests(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    path = draw(st.sampled_from(sorted(_FIELDS)))
    fields = draw(st.dictionaries(st.sampled_from(_FIELDS[path]), _VALUES, max_size=5))
    return path, fields


@fuzz
@given(request=_requests())
def test_no_value_of_any_field_gets_a_500(
    request: tuple[str, dict[str, Any]], service: Service, run: Run, ids: dict[str, str]
) -> None:
    path, fields = request
    method = "PATCH" if path.endswith(("}", "organization", "controls")) else "POST"
    key = ADMIN_KEY if "/admin/" in path else API_KEY
    answer = run(service.call(method, path.format(**ids), fields, key=key))
    assert answer.status in {200, 201, 202, 400, 422}, answer


_QUERY = st.dictionaries(
    st.sampled_from(
        [
            "type", "dedup_id", "status", "since", "until", "limit", "cursor", "subscription_id",
            "event_id", "x",
        ]
    ),
    st.text(max_size=20) | st.sampled_from(["1", "1000", "dead", "queued", "2026-11-22T00:00:00Z"]),
    max_size=3,
)  # fmt: skip


@fuzz
@given(
    path=st.sampled_from(["events", "deliveries", "dead-letters", "subscriptions"]), query=_QUERY
)
def test_no_query_gets_a_500(path: str, query: dict[str, str], service: Service, run: Run) -> None:
    answer = run(service.call("GET", f"/api/{path}?{urlencode(query)}"))
    assert answer.status in {200, 400, 422}, answer


@fuzz
@given(
    path=st.text(st.characters(codec="utf-8"), max_size=30), method=st.sampled_from(["GET", "POST"])
)
def test_no_path_gets_a_500(path: str, method: str, service: Service, run: Run) -> None:
    for prefix in ("/", "/api/", "/api/events/", "/api/admin/", "/docs/"):
        answer = run(once(service, written(method, prefix + quote(path, safe="/"))))
        assert answer.status < 500, answer


# ── nothing left out ──────────────────────────────────────────────────────────────────────────────


def test_every_row_of_the_research_is_here_elsewhere_or_with_a_later_issue() -> None:
    here = {case.row for case in BAD} | {case.row for case in TAKEN} | {71}
    assert here | set(IN_OTHER_FILES) | set(IN_LATER_ISSUES) == set(range(1, 72))
    folder = Path(__file__).parent
    assert all((folder / f"{name}.py").exists() for name in IN_OTHER_FILES.values())
