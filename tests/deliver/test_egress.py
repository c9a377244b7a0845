"""The gate: every range by its edges, every odd spelling, and the real connector at the end."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Self

import aiohttp
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from triggers_api.deliver import egress as module
from triggers_api.deliver.egress import Egress, EgressRefused, Network, system_lookup
from triggers_api.errors import TriggersError

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
PUBLIC = "93.184.215.14"
PATIENCE_S = 30.0
CLOSED = Egress()
OPEN = Egress(LOOPBACK)

# Each denied range by its first and last address, and its neighbours where they are permitted.
RANGES = [
    (None, "0.0.0.0", "0.255.255.255", "1.0.0.0"),
    ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
    ("100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"),
    ("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"),
    ("168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17"),
    ("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"),
    ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"),
    ("191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"),
    ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"),
    ("192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"),
    ("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"),
    ("198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"),
    ("198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"),
    ("203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"),
    ("223.255.255.255", "224.0.0.0", "239.255.255.255", None),
    (None, "240.0.0.0", "255.255.255.255", None),
    (None, "::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::"),
    ("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001:1ff:" + "ffff:" * 5 + "ffff", None),
    (None, "2001::", "2001:0:" + "ffff:" * 5 + "ffff", None),
    ("2001:db7:" + "ffff:" * 5 + "ffff", "2001:db8::", "2001:db8:" + "ffff:" * 5 + "ffff", None),
    ("2001:" + "ffff:" * 6 + "ffff", "2002::", "2002:" + "ffff:" * 6 + "ffff", "2003::"),
    ("3ffe:" + "ffff:" * 6 + "ffff", "3fff::", "3fff:fff:" + "ffff:" * 5 + "ffff", "3fff:1000::"),
    ("3fff:" + "ffff:" * 6 + "ffff", "4000::", "ffff:" * 7 + "ffff", None),
]

DENIED = [
    "127.0.0.1",
    "::",
    "::1",
    "::7f00:1",  # IPv4-compatible
    "::ffff:127.0.0.1",  # mapped
    "::ffff:7f00:1",
    "::ffff:10.1.2.3",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",  # translated (SIIT)
    "64:ff9b::7f00:1",  # NAT64
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",  # NAT64 of the local network
    "100::1",  # discard
    "100:0:0:1::1",  # dummy
    "2001::1",  # Teredo
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:2::1",  # benchmarks
    "2001:10::1",  # ORCHID
    "2001:20::1",
    "2002:7f00:1::",  # 6to4
    "2002:808:808::1",
    "2a00:1450:4001:81b:0:5efe:7f00:1",  # ISATAP
    "2a00:1450:4001:81b:200:5efe:808:808",
    "5f00::1",  # segment routing
    "fc00::1",
    "fd00:ec2::254",  # Amazon's metadata
    "fd20:ce::254",  # Google's metadata
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "169.254.169.254",  # most clouds' metadata
    "168.63.129.16",  # Azure's
    "100.100.100.200",  # Alibaba's
    "192.0.0.192",  # Oracle's
    "224.0.0.1",
    "255.255.255.255",
]
PERMITTED = [
    "1.1.1.1",
    "8.8.8.8",
    PUBLIC,
    "192.31.196.1",
    "::ffff:8.8.8.8",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
]
NOT_ADDRESSES = [
    "",
    "localhost",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "010.0.0.1",
    "8.8.8.8 ",
    "8.8.8.8\x00",
    "8.8.8",
    "8.8.8.8/32",
    "[2606:4700:4700::1111]",
    "2606:4700:4700::1111%eth0",
    "fe80::1%1",
    "\u0661.1.1.1",
]


def lookup_of(*answers: Sequence[str]) -> Callable[[str], Awaitable[Sequence[str]]]:
    """A resolver that gives these answers in turn, the last one for ever; none is no address."""
    left = list(answers)

    async def lookup(_host: str) -> Sequence[str]:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if not answer:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return answer

    return lookup


def refusal(url: str, gate: Egress = CLOSED) -> str | None:
    try:
        gate.check_url(url)
    except EgressRefused as refused:
        return refused.code
    return None


# ── addresses ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("before", "first", "last", "after"), RANGES)
def test_a_denied_range_ends_where_it_should(
    before: str | None, first: str, last: str, after: str | None
) -> None:
    assert not CLOSED.permits(first)
    assert not CLOSED.permits(last)
    middle = (int(ip_address(first)) + int(ip_address(last))) // 2
    assert not CLOSED.permits(type(ip_address(first))(middle))
    assert before is None or CLOSED.permits(before)
    assert after is None or CLOSED.permits(after)


@pytest.mark.parametrize("address", DENIED)
def test_an_address_inside_is_not_permitted(address: str) -> None:
    assert not CLOSED.permits(address)
    assert not CLOSED.permits(ip_address(address))


@pytest.mark.parametrize("address", PERMITTED)
def test_a_public_address_is_permitted(address: str) -> None:
    assert CLOSED.permits(address)
    assert CLOSED.permits(ip_address(address))


@pytest.mark.parametrize("text", NOT_ADDRESSES)
def test_what_is_not_an_address_in_its_usual_form_is_not_permitted(text: str) -> None:
    assert not CLOSED.permits(text)
    assert not Egress([ip_network("0.0.0.0/0"), ip_network("::/0")]).permits(text)


@given(st.ip_addresses())
def test_what_python_does_not_call_global_is_never_permitted(
    address: IPv4Address | IPv6Address,
) -> None:
    seen = (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
    assert seen.is_global or not CLOSED.permits(address)


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_one_it_carries(address: IPv4Address) -> None:
    assert CLOSED.permits(f"::ffff:{address}") == CLOSED.permits(address)


def test_what_is_allowed_is_permitted_and_nothing_beside_it() -> None:
    gate = Egress([ip_network("10.1.0.0/16"), ip_network("10.1.2.0/24"), ip_network("fd00::/16")])
    for address in ("10.1.0.0", "10.1.2.3", "10.1.255.255", "::ffff:10.1.0.1", "fd00::1"):
        assert gate.permits(address)
    for address in ("10.0.255.255", "10.2.0.0", "127.0.0.1", "fd01::", "::ffff:10.2.0.0"):
        assert not gate.permits(address)
    assert gate.permits("8.8.8.8")


def test_an_allowed_ipv6_network_does_not_open_the_ipv4_addresses_of_the_same_number() -> None:
    gate = Egress([ip_network("::/96")])
    assert gate.permits("::7f00:1")
    assert not gate.permits("127.0.0.1")


def test_our_own_addresses_are_not_permitted_unless_they_are_allowed() -> None:
    own = (ip_address("198.41.0.4"), ip_address("2606:4700::1"))
    gate = Egress(own=own)
    assert not gate.permits("198.41.0.4")
    assert not gate.permits("::ffff:198.41.0.4")
    assert not gate.permits("2606:4700:0::1")
    assert gate.permits("198.41.0.5")
    assert Egress([ip_network("198.41.0.0/24")], own=own).permits("198.41.0.4")


def test_what_the_gate_remembers_is_bounded() -> None:
    gate = Egress()
    for number in range(10_000):
        gate.permits(IPv4Address(number + (8 << 24)))
    assert gate._judged.cache_info().currsize <= 4096


# ── URLs ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "http://example.com/",
        "HTTPS://EXAMPLE.com:8443/Hook",
        "https://example.com?a=b",
        "https://example.com:443/hooks/a%2Fb/~x;y=1?sig=%2B%2f=&filter[id]=1&t=12:30@home",
        "https://teams.example.com/webhookb2/0a1b@2c3d/IncomingWebhook/9f",
        "https://xn--bcher-kva.example/",
        "https://my_service.example.com/",
        "https://1.2.3.4.example.com/",
        "https://123.example/",
        "https://a-b.example.com:65535/",
        "https://8.8.8.8:1024/",
        "https://[2606:4700:4700::1111]/hook",
        "https://[2606:4700:4700::1111]:8443",
        "https://[::ffff:8.8.8.8]/",
        "https://localhost.example.com/",
        "https://internal.example.com/",
        "https://notlocalhost/",
        "https://example.com/" + "a" * (2048 - len("https://example.com/")),
    ],
)
def test_a_plain_url_of_the_world_outside_passes(url: str) -> None:
    CLOSED.check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "/hook",
        "http:/example.com/",
        "http:example.com",
        "http://",
        "http:///hook",
        "http://?x",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com:70/_x",
        "javascript://example.com/",
        "ws://example.com/",
        "httpss://example.com/",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://@example.com/",
        "https://example.com#@127.0.0.1/",
        "https://example.com/#fragment",
        "https://example.com/#",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:99999/",
        "https://example.com:/",
        "https://example.com:-1/",
        "https://example.com:+80/",
        "https://example.com:80:80/",
        "https://example.com:http/",
        "https://example.com:22/",
        "https://example.com:25/",
        "https://example.com:6379/",
        "https://example.com:11211/",
        "https://example.com./",
        "https://example.com../",
        "https://.example.com/",
        "https://example..com/",
        "https://./",
        "https://exa mple.com/",
        "https://example.com/a b",
        "https://example.com/\t",
        "https://exam\tple.com/",
        "https://example.com/\r\nhost: other",
        "\nhttps://example.com/",
        " https://example.com/",
        "https://example.com/ ",
        "https://example.com/\x00",
        "https://example.com/\x7f",
        "https://example.com/\u2028",
        "https://example.com\\@127.0.0.1/",
        "https:\\\\example.com/",
        'https://example.com/"',
        "https://example.com/<>",
        "https://example.com/{id}",
        "https://example.com/\u00fc",
        "https://b\u00fccher.example/",
        "https://\u0435xample.com/",
        "https://\u2460\u2461\u2466.0.0.1/",
        "https://127\u30020\u30020\u30021/",
        "https://example%2ecom/",
        "https://%31%32%37.0.0.1/",
        "https://example.com%00.other/",
        "https://exam*ple.com/",
        "https://127.1/",
        "https://127.0.1/",
        "https://2130706433/",
        "https://0/",
        "https://0x7f.1/",
        "https://0x7f000001/",
        "https://0X7F.0.0.1/",
        "https://0177.0.0.1/",
        "https://127.0.0.01/",
        "https://127.0.0.0x1/",
        "https://127.0.0.1./",
        "https://127.0.0.1.1/",
        "https://256.0.0.1/",
        "https://8.8.2056/",
        "https://08.8.8.8/",
        "https://1.2.3.example.7/",
        "https://localhost./",
        "https://[::1",
        "https://::1/",
        "https://[::1]x/",
        "https://[::1]:/",
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://[127.0.0.1]/",
        "https://[example.com]/",
        "https://[v1.x]/",
        "https://[]/",
        "https://[::1][::1]/",
        "https://x[::1]/",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 130 + "example/",
        "https://example.com/" + "a" * 2048,
    ],
)
def test_anything_odd_is_an_invalid_url(url: str) -> None:
    assert refusal(url) == "invalid-url"
    assert refusal(url, OPEN) == "invalid-url"


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "http://LOCALHOST:8080/",
        "http://app.localhost/",
        "http://127.0.0.1/",
        "http://127.255.0.9:8080/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::FFFF:7F00:1]/",
    ],
)
def test_this_machine_is_blocked_unless_it_is_allowed(url: str) -> None:
    assert refusal(url) == "blocked-address"
    assert refusal(url, OPEN) is None
    assert refusal(url, Egress([ip_network("10.0.0.0/8")])) == "blocked-address"


@pytest.mark.parametrize("network", LOOPBACK)
def test_localhost_passes_with_either_half_of_the_loopback_allowed(network: Network) -> None:
    assert refusal("http://localhost:3000/", Egress([network])) is None


def test_an_allowed_address_may_have_any_port() -> None:
    for url in ("http://127.0.0.1:9/", "http://localhost:22/", "http://[::1]:6379/"):
        assert refusal(url, OPEN) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[::]/",
        "http://255.255.255.255/",
        "http://printer.local/",
        "http://vault.service.internal/",
        "http://VAULT.INTERNAL/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://Metadata.Google.Internal/",
    ],
)
def test_the_network_inside_is_blocked_with_the_loopback_allowed_too(url: str) -> None:
    assert refusal(url) == "blocked-address"
    assert refusal(url, OPEN) == "blocked-address"


def test_names_of_machines_inside_are_looked_up_once_some_of_them_may_be_called() -> None:
    gate = Egress([ip_network("10.0.0.0/8")], lookup=lookup_of(["10.1.2.3"]))
    asyncio.run(gate.check_target("http://receiver.cluster.local:8080/"))
    assert refusal("http://metadata.google.internal/", gate) == "blocked-address"


def test_every_blocked_address_is_refused_in_the_same_words() -> None:
    gate = Egress(LOOPBACK, lookup=lookup_of(["10.0.0.1"]))
    messages = set()
    for url in ("http://10.0.0.1/", "http://metadata.google.internal/", "http://rebound.example/"):
        with pytest.raises(EgressRefused) as refused:
            asyncio.run(gate.check_target(url))
        messages.add(str(refused.value))
    assert messages == {"leads to an address that deliveries may not go to"}


@given(
    st.from_regex(
        r"(https?|HTTP)://(\[[0-9a-f:.]{2,20}\]|[A-Za-z0-9._-]{1,20})(:[0-9]{1,5})?"
        r"(/[!-~]{0,10})?(\?[!-~]{0,10})?",
        fullmatch=True,
    )
)
def test_the_library_that_dials_reads_the_same_host_and_port_in_whatever_passes(url: str) -> None:
    try:
        Egress([ip_network("0.0.0.0/0"), ip_network("::/0")]).check_url(url)
    except EgressRefused:
        return
    host, address, port = module._split(url)
    seen = URL(url, encoded=True)
    assert seen.scheme in {"http", "https"}
    assert (seen.raw_host or "").lower() == host.strip("[]")
    assert seen.explicit_port == port
    assert seen.raw_user is None
    assert address is None or ip_address(seen.raw_host or "") == address
    # What is sent is what was given, but for an empty query.
    rest = re.sub(r"^https?://[^/?]*/?", "/", url, flags=re.IGNORECASE)
    assert seen.raw_path_qs in {rest, rest.removesuffix("?")}


# ── names ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_name_of_the_world_outside_is_a_fine_target() -> None:
    gate = Egress(lookup=lookup_of([PUBLIC, "2606:4700:4700::1111"]))
    asyncio.run(gate.check_target("https://example.com/hook"))


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC, "2606:4700::1", "::1"], ["fe80::1%eth0"], ["?"]],
)
def test_one_denied_address_among_a_names_refuses_it(addresses: list[str]) -> None:
    gate = Egress(lookup=lookup_of(addresses))
    with pytest.raises(EgressRefused) as refused:
        asyncio.run(gate.check_target("https://example.com/hook"))
    assert refused.value.code == "blocked-address"


def test_a_name_without_an_address_is_not_refused_yet() -> None:
    asyncio.run(Egress(lookup=lookup_of([])).check_target("https://soon.example.com/"))


def test_a_name_whose_servers_do_not_answer_is_not_refused_and_not_waited_for() -> None:
    async def silent(_host: str) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    gate = Egress(lookup=silent, lookup_limit_s=0.05)
    asyncio.run(asyncio.wait_for(gate.check_target("https://slow.example.com/"), PATIENCE_S))


def test_a_target_that_is_refused_by_its_spelling_is_not_looked_up() -> None:
    async def never(_host: str) -> Sequence[str]:
        raise AssertionError("looked up")

    gate = Egress(LOOPBACK, lookup=never)
    for url in ("http://2130706433/", "http://10.0.0.1/", "ftp://example.com/"):
        with pytest.raises(EgressRefused):
            asyncio.run(gate.check_target(url))
    for url in ("http://127.0.0.1/", "http://localhost/", "http://8.8.8.8/"):
        asyncio.run(gate.check_target(url))


def test_localhost_leads_to_the_allowed_half_of_the_loopback_only() -> None:
    async def answer(gate: Egress) -> Sequence[str]:
        return await gate.addresses("app.localhost")

    assert asyncio.run(answer(Egress([LOOPBACK[0]]))) == ("127.0.0.1",)
    assert asyncio.run(answer(Egress([LOOPBACK[1]]))) == ("::1",)
    with pytest.raises(EgressRefused):
        asyncio.run(answer(CLOSED))


def test_the_systems_lookup_gives_every_address_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *_args, **_named: [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, 0)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2606:4700::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, 0)),
        ],
    )
    assert asyncio.run(system_lookup("example.com")) == (PUBLIC, "2606:4700::1")


@pytest.mark.parametrize("name", ["nothing.invalid", "a" * 64 + ".example", "a..b"])
def test_the_systems_lookup_says_when_there_is_no_such_name(name: str) -> None:
    with pytest.raises(socket.gaierror):
        asyncio.run(system_lookup(name))


def test_lookups_that_hang_hold_up_neither_others_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()

    def getaddrinfo(host: str, *_args: object, **_named: object) -> list[Any]:
        if host == "hangs.example":
            release.wait(2 * PATIENCE_S)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(module, "_LOOKUPS", threading.BoundedSemaphore(41))
    gate, patient = Egress(lookup_limit_s=0.1), Egress(lookup_limit_s=PATIENCE_S)

    async def scenario() -> None:
        hanging = [asyncio.create_task(gate.addresses("hangs.example")) for _ in range(40)]
        await asyncio.sleep(0)
        assert await patient.addresses("example.com") == (PUBLIC,)
        results = await asyncio.gather(*hanging, return_exceptions=True)
        assert all(isinstance(result, socket.gaierror) for result in results)
        # All forty still hang, one place is left, and the next one has to come back later.
        first = asyncio.create_task(gate.addresses("hangs.example"))
        await asyncio.sleep(0)
        with pytest.raises(socket.gaierror, match="too many"):
            await patient.addresses("example.com")
        with pytest.raises(socket.gaierror, match="in time"):
            await first

    started = time.perf_counter()
    try:
        asyncio.run(scenario())
        assert time.perf_counter() - started < PATIENCE_S, "the end has waited for those that hang"
    finally:
        release.set()
    deadline = time.perf_counter() + PATIENCE_S
    while module._LOOKUPS._value < 41 and time.perf_counter() < deadline:
        threading.Event().wait(0.01)
    assert module._LOOKUPS._value == 41


# ── connections, with the real library ────────────────────────────────────────────────────────────


class Canary:
    """Listens on every IPv4 address of this machine, and writes down at which one somebody came."""

    def __init__(self) -> None:
        self.hits: list[str] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "0.0.0.0", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hits.append(writer.get_extra_info("sockname")[0])
        # Whoever is answered and hung up on before asking has lost a connection.
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()


class Resolver(aiohttp.abc.AbstractResolver):
    """What aiohttp would dial if nothing but the socket factory stood in the way."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002
    ) -> list[aiohttp.abc.ResolveResult]:
        return [
            aiohttp.abc.ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, object]], None]:
    def run(main: Coroutine[Any, Any, object]) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main)

    return run


Run = Callable[[Coroutine[Any, Any, object]], None]


async def dial(gate: Egress, host: str, canary: Canary, *addresses: str) -> int | Exception:
    connector = aiohttp.TCPConnector(
        socket_factory=gate.socket_factory,
        resolver=Resolver(*addresses),
        # The next address is dialled when this one has failed, and not before.
        happy_eyeballs_delay=None,
    )
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            async with session.post(f"http://{host}:{canary.port}/") as response:
                return response.status
        except aiohttp.ClientError as error:
            return error


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ()),
        ("127.0.0.2", ()),
        ("name.example", ("127.0.0.1",)),
        ("name.example", ("127.0.0.1", "127.0.0.2")),
        ("name.example", ("127.0.0.1", "::1", "127.0.0.2", "::ffff:127.0.0.1")),
    ],
)
def test_the_last_gate_is_at_the_connection(
    run: Run, host: str, addresses: tuple[str, ...]
) -> None:
    async def scenario() -> None:
        async with Canary() as canary:
            refused = await dial(CLOSED, host, canary, *addresses)
            assert isinstance(refused, aiohttp.ClientConnectorError)
            assert isinstance(refused.os_error, EgressRefused)
            assert refused.os_error.code == "blocked-address"
            assert not canary.hits
            assert await dial(OPEN, host, canary, *addresses) == 200
            assert len(canary.hits) == 1

    run(scenario())


def test_an_address_that_only_the_system_can_read_is_not_dialled(run: Run) -> None:
    async def scenario() -> None:
        async with Canary() as canary:
            refused = await dial(OPEN, "name.example", canary, "127.1")
            assert isinstance(refused, aiohttp.ClientConnectorError)
            assert isinstance(refused.os_error, EgressRefused)
            assert not canary.hits

    run(scenario())


def test_of_several_addresses_only_the_permitted_one_is_dialled(run: Run) -> None:
    async def scenario() -> None:
        gate = Egress([ip_network("127.0.0.2/32")])
        async with Canary() as canary:
            addresses = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
            assert await dial(gate, "name.example", canary, *addresses) == 200
            assert canary.hits == ["127.0.0.2"]

    run(scenario())


def test_a_refusal_is_one_of_our_errors_and_one_that_aiohttp_passes_on() -> None:
    with pytest.raises(EgressRefused) as refused:
        CLOSED.socket_factory(
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80))
        )
    assert isinstance(refused.value, TriggersError)
    assert isinstance(refused.value, OSError)
    assert refused.value.errno is None


def test_a_permitted_address_gets_a_socket_of_its_family() -> None:
    for family, address in (
        (socket.AF_INET, ("8.8.8.8", 443)),
        (socket.AF_INET6, ("2606:4700::1", 443, 0, 0)),
    ):
        made = CLOSED.socket_factory((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address))
        with made:
            assert (made.family, made.type) == (family, socket.SOCK_STREAM)
