"""Where a request comes from: what a trusted proxy says, and nobody else."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from triggers_api.http.client_address import client_address

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.7", [], "192.0.2.7"),
        ("192.0.2.7", ["198.51.100.1"], "192.0.2.7"),  # nobody's proxy
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),  # the first was made up
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1\x00"], "10.0.0.1"),
        (None, ["198.51.100.1"], None),
        ("testclient", ["198.51.100.1"], "testclient"),
    ],
)
def test_the_address_is_what_trusted_proxies_know(
    peer: str | None, forwarded: list[str], address: str | None
) -> None:
    headers = [(b"x-forwarded-for", each.encode("latin-1")) for each in forwarded]
    assert client_address(peer, [(b"host", b"x"), *headers], TRUSTED) == address


def test_without_trusted_proxies_only_the_peer_is_believed() -> None:
    headers = [(b"x-forwarded-for", b"198.51.100.1")]
    assert client_address("127.0.0.1", headers, ()) == "127.0.0.1"
