"""No delivery goes where none may, whatever a URL spells and whatever its name leads to.

The product runs whole in a world in which every address of IPv4 and IPv6 reaches a canary, and names
are answered by a DNS server of ours through the system's resolver. What is connected to is what the
canary says.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final

import msgspec
import pytest
from tests.deliver import forged
from tests.deliver.forged import Asked, Target, Told
from tests.servers.enclosure import enclosed

PUBLIC: Final = "93.184.215.14"
PUBLIC_6: Final = "2606:4700:4700::1111"
LOOPBACK: Final = "127.0.0.1"

# The table: after un-mapping ::ffff:0:0/96, what no delivery may go to.
DENIED_4: Final = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
    "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
    "100.100.100.200/32", "192.0.0.192/32",
)  # fmt: skip
DENIED_6: Final = (
    "::/8", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001::/32",
    "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10",
    "ff00::/8", "4000::/2", "8000::/1", "fd00:ec2::254/128",
)  # fmt: skip
# IPv4 addresses inside IPv6 ones: of the loopback and of a cloud's metadata.
CARRIED: Final = (
    "::7f00:1", "::a9fe:a9fe",                                   # IPv4-compatible
    "::ffff:7f00:1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",  # mapped
    "::ffff:0:7f00:1",                                           # translated
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1",  # NAT64
    "2002:7f00:1::1", "2002:a9fe:a9fe::1",                       # 6to4
    "2001:0:7f00:1::1", "2001:0:4136:e378:8000:63bf:80ff:fffe",  # Teredo
    "2a00:1450:4001:81b:0:5efe:7f00:1",                          # ISATAP
)  # fmt: skip

SPELLINGS: Final = {
    "octal": "0177.0.0.1", "octal short": "0177.1", "octal dword": "017700000001",
    "padded": "127.0.0.01", "hex": "0x7f.0.0.1", "hex dword": "0x7f000001",
    "hex capital": "0X7F.0.0.1", "dword": "2130706433", "short two": "127.1",
    "short three": "127.0.1", "zero": "0", "overflow": "127.0.0.257", "five parts": "127.0.0.1.1",
    "trailing dot": "127.0.0.1.", "name with a trailing dot": "inside.example.",
    "localhost with a trailing dot": "localhost.", "userinfo": "example.com@127.0.0.1",
    "userinfo and password": "example.com:80@127.0.0.1", "empty userinfo": "@127.0.0.1",
    "backslash": "example.com\\@127.0.0.1", "percent": "%31%32%37.0.0.1", "nul": "127.0.0.1%00",
    "circled digits": "\u2460\u2461\u2466.0.0.1", "full width": "\uff11\uff12\uff17.0.0.1",
    "ideographic stop": "127\u30020\u30020\u30021", "arabic digits": "\u0661\u0662\u0667.0.0.1",
    "idna": "b\u00fccher.example", "soft hyphen": "local\u00adhost", "long s": "localho\u017ft",
    "zone id": "[fe80::1%25lo]", "zone id of the loopback": "[::1%25lo]", "bare zone": "[::1%lo]",
    "no brackets": "::1", "mixed brackets": "[127.0.0.1]", "tab": "127.0.0.1\t", "space": " 127.0.0.1",
    "line break": "example.com\r\nhost: 127.0.0.1",
}  # fmt: skip
"""Hosts that some parser takes for an address inside, or that hide one. None is a URL for us."""

NAMES: Final[dict[str, dict[str, list[list[str]]]]] = {
    "inside.example": {"A": [[LOOPBACK]]},
    "metadata.example": {"A": [["169.254.169.254"]]},
    "inside6.example": {"AAAA": [["::1"]]},
    "mapped.example": {"AAAA": [["::ffff:127.0.0.1"]]},
    "nat64.example": {"AAAA": [["64:ff9b::7f00:1"]]},
    "sixtofour.example": {"AAAA": [["2002:7f00:1::1"]]},
    "teredo.example": {"AAAA": [["2001:0:7f00:1::1"]]},
    "first.example": {"A": [[LOOPBACK, PUBLIC]]},
    "last.example": {"A": [[PUBLIC, LOOPBACK]]},
    "among-many.example": {"A": [[f"93.184.215.{n}" for n in range(1, 20)] + ["10.0.0.1"]]},
    "a-and-aaaa.example": {"A": [[PUBLIC]], "AAAA": [["::1"]]},
    "aaaa-and-a.example": {"A": [["10.0.0.1"]], "AAAA": [[PUBLIC_6]]},
    "a-and-mapped.example": {"A": [[PUBLIC]], "AAAA": [["::ffff:10.0.0.1"]]},
    "alias.example": {"CNAME": [["inside.example"]]},
    "alias-of-alias.example": {"CNAME": [["alias.example"]]},
    "by-tcp.example": {"TCP": [], "A": [[LOOPBACK]]},
    "127.0.0.1.nip.example": {"A": [[LOOPBACK]]},
    "xn--bcher-kva.example": {"A": [[LOOPBACK]]},
    # Rebinding: what is answered at first is public.
    "second.example": {"A": [[PUBLIC], [LOOPBACK]]},
    "second6.example": {"AAAA": [[PUBLIC_6], ["::1"]]},
    "second-by-tcp.example": {"TCP": [], "A": [[PUBLIC], [LOOPBACK]]},
    "second-mix.example": {
        "A": [[PUBLIC], [PUBLIC], [PUBLIC]],
        "AAAA": [[PUBLIC_6], ["::ffff:127.0.0.1"]],
    },
    "third.example": {"A": [[PUBLIC], [PUBLIC], [LOOPBACK]]},
    "fourth.example": {"A": [[PUBLIC], [PUBLIC], [PUBLIC], ["169.254.169.254"]]},
    "to-and-fro.example": {"A": [[PUBLIC], [LOOPBACK]] * 20},
    "public.example": {"A": [[PUBLIC]], "AAAA": [[PUBLIC_6]]},
    "gone.example": {"A": [[]]},
}
FIXED: Final = tuple(
    name
    for name, types in NAMES.items()
    if all(len(turns) <= 1 for turns in types.values())
    and name not in {"public.example", "gone.example"}
)
"""Names that always lead inside, with one of their addresses at least."""
MOVING: Final = tuple(
    name for name, types in NAMES.items() if len(max(types.values(), key=len)) > 1
)
EVENTS: Final = 6

REDIRECTS: Final = tuple(
    (status, host)
    for status in (301, 302, 303, 307, 308)
    for host in (LOOPBACK, "[::1]", "169.254.169.254", "inside.example")
)

UNREACHABLE: Final = (
    *("0.0.0.0", "127.255.255.255", "224.", "231.", "239.", "240.", "247.", "255."),
    *("::", "fe8", "fe9", "fea", "feb", "ff"),
)
"""What no TCP connection goes to in that world either: multicast, broadcast, links without a name."""


def addresses() -> Iterator[str]:
    """The first, the middle and the last address of each network in the table."""
    for text in (*DENIED_4, *DENIED_6):
        network: IPv4Network | IPv6Network = ip_network(text)
        first, last = int(network.network_address), int(network.broadcast_address)
        for number in dict.fromkeys((first, (first + last) // 2, last)):
            yield str(type(network.network_address)(number))
    yield from CARRIED


def literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def at(host: str, path: str = "/hook") -> str:
    return f"http://{host}:{forged.PORT}{path}"


ADDRESSES: Final = tuple(dict.fromkeys(addresses()))
TARGETS: Final[dict[str, Target]] = {
    **{f"address.{n}": Target(at(literal(each))) for n, each in enumerate(ADDRESSES)},
    **{f"spelling.{n}": Target(at(host)) for n, host in enumerate(SPELLINGS.values())},
    **{f"name.{name}": Target(at(name)) for name in FIXED},
    **{f"moving.{name}": Target(at(name), events=EVENTS) for name in MOVING},
    **{
        f"redirect.{n}": Target(at(PUBLIC, f"/to/{status}/{host}"))
        for n, (status, host) in enumerate(REDIRECTS)
    },
    "localhost": Target(at("localhost")),
    "localhost.sub": Target(at("app.localhost")),
    "public": Target(at(PUBLIC)),
    "public6": Target(at(literal(PUBLIC_6))),
    "public.name": Target(at("public.example")),
    "public.mapped": Target(at(f"[::ffff:{PUBLIC}]")),
    "gone": Target(at("gone.example")),
}

Story = dict[str, Told]


def told(folder: Path, *, allow: bool) -> Story:
    asked = Asked(targets=TARGETS, zone=NAMES, allow=allow)
    (folder / "asked.json").write_bytes(msgspec.json.encode(asked))
    enclosed("-m", "tests.deliver.forged", str(folder), folder=folder, timeout_s=200)
    return msgspec.json.decode((folder / "told.json").read_bytes(), type=Story)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """With the settings as they come."""
    return told(tmp_path_factory.mktemp("closed"), allow=False)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """With everything in ``TRIGGERS_ALLOW_CIDRS``."""
    return told(tmp_path_factory.mktemp("opened"), allow=True)


def refused(found: Told, code: str) -> None:
    """By the API, and where the API was not asked by the delivery; nobody was reached."""
    assert found.reached == []
    assert (found.status, found.codes) == (422, [code])
    assert (found.statuses, found.errors) == (["dead"], [code])


def test_what_is_public_is_reached(closed: Story) -> None:
    for name, address in (
        ("public", {PUBLIC}),
        ("public6", {PUBLIC_6}),
        ("public.mapped", {f"::ffff:{PUBLIC}", PUBLIC}),
        ("public.name", {PUBLIC, PUBLIC_6}),
    ):
        found = closed[name]
        assert (found.status, found.statuses) == (201, ["succeeded"]), name
        assert len(found.reached) == 1
        assert set(found.reached) <= address


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_of_the_table_is_never_reached(closed: Story, address: str) -> None:
    refused(closed[f"address.{ADDRESSES.index(address)}"], "blocked-address")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_odd_spelling_is_no_url(closed: Story, opened: Story, spelling: str) -> None:
    name = f"spelling.{list(SPELLINGS).index(spelling)}"
    refused(closed[name], "invalid-url")
    # What is allowed is an address, and not a way to write one.
    refused(opened[name], "invalid-url")


@pytest.mark.parametrize("name", ["localhost", "localhost.sub"])
def test_localhost_is_never_reached(closed: Story, opened: Story, name: str) -> None:
    refused(closed[name], "blocked-address")
    assert opened[name].reached


@pytest.mark.parametrize("name", FIXED)
def test_a_name_that_leads_inside_with_one_of_its_addresses_is_never_reached(
    closed: Story, opened: Story, name: str
) -> None:
    refused(closed[f"name.{name}"], "blocked-address")
    assert opened[f"name.{name}"].statuses == ["succeeded"]
    assert opened[f"name.{name}"].reached


@pytest.mark.parametrize("name", MOVING)
def test_a_name_that_turns_inwards_is_followed_to_public_addresses_only(
    closed: Story, opened: Story, name: str
) -> None:
    found = closed[f"moving.{name}"]
    assert found.status == 201
    assert set(found.reached) <= {PUBLIC, PUBLIC_6}
    assert len(found.reached) == found.statuses.count("succeeded")
    assert found.errors.count("blocked-address") == found.statuses.count("dead") > 0
    assert len(found.statuses) == EVENTS
    # Of several addresses, where all are allowed, the first one that answers is enough.
    assert name == "second-mix.example" or set(opened[f"moving.{name}"].reached) - {
        PUBLIC,
        PUBLIC_6,
    }


def test_a_name_that_turns_inwards_later_is_reached_until_then(closed: Story) -> None:
    # Looked up once when the subscription is made, and once for an attempt.
    assert closed["moving.third.example"].reached == [PUBLIC]
    assert closed["moving.fourth.example"].reached == [PUBLIC, PUBLIC]
    assert closed["moving.to-and-fro.example"].reached == [PUBLIC] * (EVENTS // 2)


@pytest.mark.parametrize(("status", "host"), REDIRECTS)
def test_a_redirect_is_never_followed(closed: Story, opened: Story, status: int, host: str) -> None:
    for story in (closed, opened):
        found = story[f"redirect.{REDIRECTS.index((status, host))}"]
        assert found.reached == [PUBLIC]
        assert found.statuses == ["dead"]


def test_a_name_without_an_address_reaches_nobody(closed: Story) -> None:
    found = closed["gone"]
    assert (found.status, found.errors, found.reached) == (201, ["dns"], [])


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_same_address_is_reached_where_it_is_allowed(opened: Story, address: str) -> None:
    found = opened[f"address.{ADDRESSES.index(address)}"]
    assert found.status == 201
    if address.startswith(UNREACHABLE):
        assert not set(found.errors) & {"blocked-address", "invalid-url"}
    else:
        assert found.reached
