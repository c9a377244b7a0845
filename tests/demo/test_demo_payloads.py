"""The bundled payloads are the published ones, byte for byte, and events this service takes."""

import gzip
import hashlib
import json
from importlib import resources

import pytest

from triggers_api.demo import payloads
from triggers_api.model.text import is_event_type

MIB = 1024 * 1024
SHA256 = "e7cf0eaadadd4a90dd107b3269ac7e867aa028eb558510142add094aa2aa4a5e"


@pytest.fixture(scope="module")
def examples() -> list[tuple[str, bytes]]:
    return payloads()


@pytest.fixture(scope="module")
def source() -> bytes:
    packed = resources.files("triggers_api.demo") / "github-webhooks.ndjson.gz"
    return gzip.decompress(packed.read_bytes())


def test_the_data_is_what_was_published(source: bytes) -> None:
    assert hashlib.sha256(source).hexdigest() == SHA256


def test_there_are_329_payloads_of_161_types(examples: list[tuple[str, bytes]]) -> None:
    assert len(examples) == 329
    assert len({type_ for type_, _ in examples}) == 161


def test_every_payload_is_a_json_object_under_the_body_limit(
    examples: list[tuple[str, bytes]],
) -> None:
    for _, payload in examples:
        assert isinstance(json.loads(payload), dict)
        assert len(payload) < MIB


def test_every_type_is_an_event_type_of_github(examples: list[tuple[str, bytes]]) -> None:
    for type_, _ in examples:
        assert is_event_type(type_)
        assert type_.startswith("github.")


def test_types_and_payloads_are_the_bytes_of_the_file(
    examples: list[tuple[str, bytes]], source: bytes
) -> None:
    again = [
        b'{"type":"%b","payload":%b}\n' % (type_.encode(), payload) for type_, payload in examples
    ]
    assert b"".join(again) == source


def test_the_licence_of_the_data_is_shipped_beside_it() -> None:
    beside = resources.files("triggers_api.demo") / "LICENSE-octokit-webhooks-examples.txt"
    text = beside.read_text(encoding="utf-8")
    assert text.startswith("The MIT License\n\nCopyright (c) 2018 Gregor Martynus\n")
    assert "The above copyright notice and this permission notice shall be included" in text
