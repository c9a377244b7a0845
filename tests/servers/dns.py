"""A DNS server of our own (RFC 1035), over UDP and TCP, whose answers may differ from time to time."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from ipaddress import ip_address
from typing import Final, Self

TYPES: Final = {"A": 1, "CNAME": 5, "AAAA": 28}

_OF_TYPE: Final = {number: name for name, number in TYPES.items()}
_HEAD: Final = struct.Struct("!6H")
_RECORD: Final = struct.Struct("!HHIH")
"""Type, class, seconds to live, length."""
_ANSWER: Final = 0x8580
"""A response, authoritative, recursion wished for and offered."""
_TRUNCATED: Final = 0x0200
_NO_SUCH_NAME: Final = 3

Answers = Sequence[Sequence[str]]
"""What is answered to the first question, the second and so on; the last one for ever after."""
Zone = Mapping[str, Mapping[str, Answers]]
"""By name and type. A name with a type ``TCP`` is answered over UDP with no more than "ask by TCP"."""


class DnsServer:
    """Answers with a lifetime of zero seconds. Use it with ``async with``."""

    def __init__(self, zone: Zone, *, host: str, port: int = 53) -> None:
        """Nothing happens before it is entered."""
        self.asked: Counter[tuple[str, str]] = Counter()
        """Questions that were answered, by name and type."""
        self._zone = zone
        self._host = host
        self._port = port
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self), local_addr=(self._host, self._port)
        )
        self._stack.callback(transport.close)
        listening = await asyncio.start_server(self._stream, self._host, self._port)
        self._stack.callback(listening.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def answer(self, question: bytes, *, stream: bool) -> bytes:
        """A message for a message with one question."""
        identifier, *_ = _HEAD.unpack_from(question)
        name, end = _name(question, _HEAD.size)
        (kind,) = struct.unpack_from("!H", question, end)
        asked = question[_HEAD.size : end + 4]
        known = self._zone.get(name)
        if known is None:
            return _HEAD.pack(identifier, _ANSWER | _NO_SUCH_NAME, 1, 0, 0, 0) + asked
        if "TCP" in known and not stream:
            return _HEAD.pack(identifier, _ANSWER | _TRUNCATED, 1, 0, 0, 0) + asked
        records = self._records(name, known, _OF_TYPE.get(kind, ""))
        return _HEAD.pack(identifier, _ANSWER, 1, len(records), 0, 0) + asked + b"".join(records)

    def _records(self, name: str, known: Mapping[str, Answers], kind: str) -> list[bytes]:
        """Those of a type; where the name is another one's alias, that and the other one's."""
        if "CNAME" in known:
            ((target,),) = known["CNAME"]
            return [
                _record(name, "CNAME", _encoded(target)),
                *self._records(target, self._zone.get(target, {}), kind),
            ]
        if kind not in known:
            return []
        turns = known[kind]
        turn = min(self.asked[name, kind], len(turns) - 1)
        self.asked[name, kind] += 1
        return [_record(name, kind, ip_address(address).packed) for address in turns[turn]]

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                answer = self.answer(await reader.readexactly(length), stream=True)
                writer.write(struct.pack("!H", len(answer)) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(self._server.answer(data, stream=False), addr)


def _name(message: bytes, at: int) -> tuple[str, int]:
    """A name in lower case, without compression, and where it ends."""
    labels = []
    while length := message[at]:
        labels.append(message[at + 1 : at + 1 + length].decode("latin-1").lower())
        at += 1 + length
    return ".".join(labels), at + 1


def _encoded(name: str) -> bytes:
    labels = [label.encode() for label in name.split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _record(name: str, kind: str, content: bytes) -> bytes:
    return _encoded(name) + _RECORD.pack(TYPES[kind], 1, 0, len(content)) + content
