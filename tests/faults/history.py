"""What the clients of a run know: every request they made, and what they were told."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Protocol

import aiohttp
import msgspec

from triggers_api.testing import Answer

PLANTED: Final = "planted-9c41f7"
"""In every payload; a log that has it has leaked one."""

_UNUSUAL: Final = (
    "123456789012345678901234567890",
    '"\\u0000"',
    '"\\ud83d\\ude00 \u00e9"',
    '{"a":1,"a":2}',
    "1e400",
    "[[[[]]]]",
    "null",
)


_PAUSE_S: Final = 0.1
"""What a client waits that asks again until it is served."""


class Target(Protocol):
    """Where events are posted to."""

    async def call(self, method: str, path: str, body: bytes, /) -> Answer:
        """Make one request."""

    def poll(self) -> int | None:
        """The exit code, once nobody will answer any more."""


class Outcome(Enum):
    """What a client knows about a request after its end."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Told:
    """How one request ended; without a status the connection broke."""

    status: int | None = None
    code: str | None = None
    event_id: str | None = None
    duplicate: bool = False

    @property
    def outcome(self) -> Outcome:
        """A broken connection and ``outcome-unknown`` leave open whether the event is stored."""
        if self.status is None or self.code == "outcome-unknown":
            return Outcome.UNKNOWN
        return Outcome.ACCEPTED if 200 <= self.status < 300 else Outcome.REFUSED


@dataclass
class Request:
    """One event, and every time it was posted."""

    serial: int
    type: str
    payload: bytes
    dedup_id: str | None
    deliver_at: str | None = None
    told: list[Told] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        """What is posted, with the payload exactly as it is to be stored."""
        dedup = b"" if self.dedup_id is None else b',"dedup_id":"%b"' % self.dedup_id.encode()
        at = b"" if self.deliver_at is None else b',"deliver_at":"%b"' % self.deliver_at.encode()
        return b'{"type":"%b","payload":%b%b%b}' % (self.type.encode(), self.payload, dedup, at)

    @property
    def digest(self) -> str:
        """Of the payload; every payload is different."""
        return hashlib.sha256(self.payload).hexdigest()

    @property
    def outcome(self) -> Outcome:
        """The most that any answer to it says."""
        outcomes = {told.outcome for told in self.told}
        if Outcome.ACCEPTED in outcomes:
            return Outcome.ACCEPTED
        return Outcome.UNKNOWN if Outcome.UNKNOWN in outcomes else Outcome.REFUSED

    @property
    def ids(self) -> set[str]:
        """The ids that answers gave it."""
        return {told.event_id for told in self.told if told.event_id is not None}


class History:
    """The clients' side of a run."""

    def __init__(self, rng: random.Random) -> None:
        self.requests: list[Request] = []
        self.answers = 0
        """Answers received so far."""
        self.accepted = 0
        """Of these, how many said that the event is stored."""
        self.answered = asyncio.Event()
        """Set at each answer, for whoever waits for a number of them."""
        self._rng = rng

    def new(
        self, event_type: str, *, size: int | None = None, dedup: bool | None = None
    ) -> Request:
        """An event that nobody has posted yet, with a payload like no other."""
        rng, serial = self._rng, len(self.requests)
        filler = "x" * (rng.choice((10, 200, 1000)) if size is None else size)
        odd = rng.choice(_UNUSUAL)
        payload = f'{{"serial":{serial},"mark":"{PLANTED}","odd":{odd}, "filler":"{filler}"}}'
        if dedup is None:
            dedup = rng.random() < 0.9
        request = Request(
            serial, event_type, payload.encode(), f"dedup-{serial}" if dedup else None
        )
        self.requests.append(request)
        return request

    def note(self, request: Request, told: Told) -> Told:
        """Write down how a request ended."""
        request.told.append(told)
        if told.status is not None:
            self.answers += 1
            self.accepted += told.outcome is Outcome.ACCEPTED
            self.answered.set()
        return told

    async def wait_for_answers(self, count: int) -> None:
        """Until so many answers have come."""
        while self.answers < count:
            self.answered.clear()
            await self.answered.wait()

    async def wait_for_accepted(self, count: int) -> None:
        """Until so many answers have said that an event is stored."""
        while self.accepted < count:
            self.answered.clear()
            await self.answered.wait()

    def of(self, outcome: Outcome) -> list[Request]:
        """The events with this outcome."""
        return [request for request in self.requests if request.outcome is outcome]

    def statuses(self) -> set[int]:
        """Every status that was answered."""
        return {
            told.status
            for request in self.requests
            for told in request.told
            if told.status is not None
        }


async def post(target: Target, history: History, request: Request) -> Told:
    """Post an event once; whatever happens is written down."""
    try:
        answer = await target.call("POST", "/api/events", request.body)
        told = read(answer.status, answer.body)
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        told = Told()
    return history.note(request, told)


async def insist(target: Target, history: History, requests: Sequence[Request]) -> None:
    """Post each event again and again until it is accepted, from several clients at once.

    One without a ``dedup_id`` is not repeated when it may be stored: it would be two events.
    """
    waiting: Iterator[Request] = iter(requests)

    async def client() -> None:
        for request in waiting:
            while (outcome := (await post(target, history, request)).outcome) is not (
                Outcome.ACCEPTED
            ):
                if outcome is Outcome.UNKNOWN and request.dedup_id is None:
                    break
                await asyncio.sleep(_PAUSE_S)

    await asyncio.gather(*(client() for _ in range(16)))


def read(status: int, body: bytes) -> Told:
    """What an answer says."""
    try:
        said: dict[str, Any] = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise AssertionError(f"{status} with a body that is not JSON: {body[:500]!r}") from error
    return Told(status, said.get("code"), said.get("id"), said.get("duplicate", False))


async def load(
    target: Target,
    history: History,
    requests: Sequence[Request],
    *,
    clients: int = 16,
    after: Callable[[Told], Awaitable[None]] | None = None,
) -> None:
    """Post events from several clients at once, each event once.

    ``after`` is called with each outcome, by the client that has it.
    """
    waiting: Iterator[Request] = iter(requests)

    async def client() -> None:
        for request in waiting:
            told = await post(target, history, request)
            if after is not None:
                await after(told)
            if told.status is None and target.poll() is not None:
                return

    await asyncio.gather(*(client() for _ in range(clients)))
