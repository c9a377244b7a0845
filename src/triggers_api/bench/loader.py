"""The raw loader: prepared bytes on non-blocking sockets, in a process of its own.

It counts exactly and keeps its own latencies, which ``wrk`` does not, and it can hold a rate whatever
the server does (open loop). The parent writes a :class:`Plan` to its standard input; it answers with
frames on its standard output: fractions done, then the :class:`Load`.
"""

import contextlib
import random
import resource
import select
import selectors
import socket
import subprocess
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable
from typing import IO, Final, TypeVar

import msgspec

from triggers_api.bench.children import child
from triggers_api.bench.errors import RunFailed
from triggers_api.bench.http1 import DEDUP_ID_LENGTH, Parts, scan_response
from triggers_api.bench.machine import Watch
from triggers_api.bench.receiver import Receiver, Webhook
from triggers_api.bench.statistics import scheduled

T = TypeVar("T")

SILENCE_S: Final = 30.0
"""A run in which nothing happens for so long is given up."""

_READ: Final = 64 << 10
_TELL_EVERY_S: Final = 0.2
_LONGEST_WAIT_S: Final = 0.2
_ACCEPTED: Final = frozenset({201, 202})
_DUPLICATE: Final = 200
_SAMPLED_IDS: Final = 200
_ID_FIELD: Final = b'"id":"'


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send.

    Attributes:
        requests: are sent in turn.
        connections: kept alive, one request at a time on each.
        events: how many to send; ``None`` for as many as fit in ``seconds``.
        rate: events a second of an open loop; ``None`` sends the next one on every answer.
        dedup: give each event a dedup_id.
        duplicates: the share of events, 0 to 1, that repeat the dedup_id of an earlier one.
        events_api: the answers are those of ``POST /api/events``, whose ids are to be collected.
        webhooks: how many webhooks to keep whole; ``None`` when none are to be received. The
            listening socket is then the loader's file descriptor ``listener``.
        not_awaited: the places of those requests whose webhooks are not waited for, nor reported.
        seed: of the dedup_ids.
    """

    host: str
    port: int
    requests: list[Parts]
    connections: int
    seed: int
    events: int | None = None
    seconds: float | None = None
    rate: float | None = None
    dedup: bool = False
    duplicates: float = 0.0
    events_api: bool = True
    webhooks: int | None = None
    listener: int | None = None
    not_awaited: frozenset[int] = frozenset()


class Arrivals(msgspec.Struct, frozen=True, kw_only=True):
    """What the receiver got.

    Attributes:
        unique: events of this load, each counted once; here and below those that are awaited.
        repeats: requests whose event had come before.
        strangers: events that are not of this load, awaited or not.
        latencies: seconds from the (scheduled) sending of each event to its arrival, as doubles.
        last_at: the last arrival of one, by the monotonic clock; before any, when the load began.
        kept: the first requests, whole.
    """

    unique: int
    repeats: int
    strangers: int
    latencies: bytes
    last_at: float
    kept: list[Webhook]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a plan. Times are seconds by the monotonic clock.

    Attributes:
        statuses: answers by status.
        latencies: seconds from the (scheduled) sending to the answer, of every answer below 300,
            as doubles.
        delays: how long after its time each event of an open loop was sent, as doubles.
        lost: requests whose connection ended before the answer.
        awaited: answers that accepted an event whose webhook was waited for.
        unique_ids: different event ids in the answers that accepted.
        sampled_ids: some of them.
        wrong_duplicates: answers about a duplicate that name another event than the first one.
        cpu_s: what the loader's process used, from its first request until it was done.
    """

    started_at: float
    ended_at: float
    statuses: dict[int, int]
    latencies: bytes
    delays: bytes
    lost: int
    awaited: int
    unique_ids: int
    sampled_ids: list[str]
    wrong_duplicates: int
    cpu_s: float
    arrivals: Arrivals | None = None

    @property
    def accepted(self) -> int:
        """Answers that say that an event was stored."""
        return sum(self.statuses.get(status, 0) for status in _ACCEPTED)

    @property
    def duplicates(self) -> int:
        """Answers that say that an event was there already."""
        return self.statuses.get(_DUPLICATE, 0)

    @property
    def answers(self) -> int:
        """All of them."""
        return sum(self.statuses.values())

    @property
    def seconds(self) -> float:
        """From the first request to the last answer."""
        return self.ended_at - self.started_at


class _Frame(msgspec.Struct, frozen=True):
    """What the loader tells its parent.

    That it begins, how far it is, that it has ended; then what came of it, or why nothing did.
    """

    fraction: float = 0.0
    ended: bool = False
    load: Load | None = None
    failure: str | None = None


def doubles(packed: bytes) -> "array[float]":
    """The numbers in one of the fields that hold doubles."""
    numbers: array[float] = array("d")
    numbers.frombytes(packed)
    return numbers


# ── the parent's side ─────────────────────────────────────────────────────────────────────────────


def run_load(
    plan: Plan,
    *,
    watch: Watch,
    progress: Callable[[float], None],
    listener: socket.socket | None = None,
) -> Load:
    """Carry a plan out in a process of its own, on the cores that this one may use.

    Args:
        plan: what to send.
        watch: from the first request to the last answer (or webhook).
        progress: is told the fraction that is done.
        listener: where the plan's webhooks come in.

    Raises:
        RunFailed: the loader gave up, with its reason.
    """
    descriptors = () if listener is None else (listener.fileno(),)
    if listener is not None:
        plan = msgspec.structs.replace(plan, listener=listener.fileno())
    command = [sys.executable, "-m", "triggers_api.bench.loader"]
    with child(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, descriptors=descriptors
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has died; its silence says so below
            _write(process.stdin, plan)
        frame = _read(process.stdout, _Frame)
        watch.begin()
        while frame.load is None and frame.failure is None:
            progress(frame.fraction)
            frame = _read(process.stdout, _Frame)
            if frame.ended:
                watch.end()
    if frame.load is None:
        raise RunFailed(frame.failure or "the loader ended without a word")
    return frame.load


def _write(stream: IO[bytes], message: Plan | _Frame) -> None:
    packed = msgspec.msgpack.encode(message)
    stream.write(len(packed).to_bytes(4, "big") + packed)
    stream.flush()


def _read(stream: IO[bytes], type_: type[T]) -> T:
    size = int.from_bytes(stream.read(4), "big")
    if size == 0:
        raise RunFailed("the loader ended without a word")
    return msgspec.msgpack.decode(stream.read(size), type=type_)


# ── the loader's side ─────────────────────────────────────────────────────────────────────────────


class Loader:
    """Carries one plan out."""

    def __init__(self, plan: Plan, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Connect; nothing is sent yet.

        Raises:
            RunFailed: the server cannot be reached.
        """
        self._plan = plan
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._draw = random.Random(plan.seed)  # noqa: S311 - repeatable on purpose
        self._dedup_ids: list[bytes] = []
        self._sent = 0
        self._answered = 0
        self._started_at = self._ended_at = 0.0
        self._statuses: Counter[int] = Counter()
        self._latencies: array[float] = array("d")
        self._delays: array[float] = array("d")
        self._lost = 0
        self._used_s = 0.0
        self._accepted: dict[str, float] = {}
        self._passed_by: set[str] = set()
        self._first: dict[bytes, str] = {}
        self._again: list[tuple[bytes, str]] = []
        self._receiver = None
        if plan.listener is not None:
            self._receiver = Receiver(
                socket.socket(fileno=plan.listener),
                self._selector,
                clock=clock,
                samples=plan.webhooks or 0,
            )
        self._idle = deque(_Connection(self) for _ in range(plan.connections))

    def run(self, tell: Callable[[float], None]) -> None:
        """Send, until the plan is carried out and everything is answered and received.

        Args:
            tell: is given the fraction that is done, now and then.

        Raises:
            RunFailed: the server is gone, or silent for :data:`SILENCE_S`.
        """
        used_s = _cpu_s()
        told_at = self._started_at = self._ended_at = self._clock()
        while True:
            self._send_due()
            if self._done():
                break
            self._turn()
            now = self._clock()
            if now - told_at >= _TELL_EVERY_S:
                told_at = now
                tell(self._fraction(now))
                if self._silent(now):
                    break
        self._used_s = _cpu_s() - used_s

    def result(self) -> Load:
        """What came of the plan."""
        ids = [*self._accepted, *self._passed_by]
        return Load(
            started_at=self._started_at,
            ended_at=self._ended_at,
            statuses=dict(self._statuses),
            latencies=self._latencies.tobytes(),
            delays=self._delays.tobytes(),
            lost=self._lost,
            awaited=len(self._accepted),
            unique_ids=len(ids),
            sampled_ids=self._draw.sample(ids, min(_SAMPLED_IDS, len(ids))),
            wrong_duplicates=sum(
                self._first.get(dedup_id, event_id) != event_id
                for dedup_id, event_id in self._again
            ),
            cpu_s=self._used_s,
            arrivals=None if self._receiver is None else self._arrivals(self._receiver),
        )

    def close(self) -> None:
        """Hang up."""
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    # ── sending ───────────────────────────────────────────────────────────────────────────────

    def _send_due(self) -> None:
        rate, idle = self._plan.rate, self._idle
        now = self._clock()
        while idle and self._more(now):
            due_at = now if rate is None else scheduled(self._started_at, self._sent, rate)
            if due_at > now:
                return
            if rate is not None:
                self._delays.append(now - due_at)
            # A closed loop counts from here; an open one from when it was due, however late it is.
            awaited = self._sent % len(self._plan.requests) not in self._plan.not_awaited
            idle.popleft().send(self._request(), due_at, awaited=awaited)

    def _more(self, now: float) -> bool:
        plan = self._plan
        if plan.events is not None:
            return self._sent < plan.events
        assert plan.seconds is not None
        if plan.rate is not None:
            # As many as are due within the time, also when the last of them are late.
            return self._sent < plan.rate * plan.seconds
        return now - self._started_at < plan.seconds

    def _request(self) -> tuple[bytes, bytes]:
        """The next request's bytes and dedup_id."""
        plan = self._plan
        before, after = plan.requests[self._sent % len(plan.requests)]
        self._sent += 1
        if not plan.dedup:
            return before, b""
        draw, known = self._draw, self._dedup_ids
        if known and plan.duplicates and draw.random() < plan.duplicates:
            dedup_id = known[int(draw.random() * len(known))]
        else:
            dedup_id = b"%0*x" % (DEDUP_ID_LENGTH, draw.getrandbits(4 * DEDUP_ID_LENGTH))
            known.append(dedup_id)
        return before + dedup_id + after, dedup_id

    # ── answers ───────────────────────────────────────────────────────────────────────────────

    def answered(self, connection: "_Connection", status: int, body: bytes) -> None:
        """An answer has come; the connection is free again."""
        now = self._clock()
        self._ended_at = now
        self._answered += 1
        self._statuses[status] += 1
        if status < 300:
            self._latencies.append(now - connection.since)
            if self._plan.events_api:
                self._note_event(connection, status, body)
        self._idle.append(connection)
        if self._plan.rate is None:
            self._send_due()

    def _note_event(self, connection: "_Connection", status: int, body: bytes) -> None:
        at = body.find(_ID_FIELD) + len(_ID_FIELD)
        event_id = body[at : body.find(b'"', at)].decode()
        if status in _ACCEPTED:
            if connection.awaited:
                self._accepted[event_id] = connection.since
            else:
                self._passed_by.add(event_id)
            if connection.dedup_id:
                self._first[connection.dedup_id] = event_id
        else:
            self._again.append((connection.dedup_id, event_id))

    def hung_up(self, connection: "_Connection") -> None:
        """A connection ended; if a request was on it, what became of that is not known."""
        if connection.waiting:
            self._lost += 1
            self._answered += 1
        else:
            self._idle.remove(connection)
        self._idle.append(_Connection(self))

    def connect(self) -> socket.socket:
        """A new connection to the server.

        Raises:
            RunFailed: it cannot be reached.
        """
        plan = self._plan
        try:
            connection = socket.create_connection((plan.host, plan.port), timeout=10)
        except OSError as error:
            raise RunFailed(f"no connection to {plan.host}:{plan.port}: {error}") from None
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        return connection

    @property
    def selector(self) -> selectors.BaseSelector:
        """The loop's."""
        return self._selector

    # ── the loop ──────────────────────────────────────────────────────────────────────────────

    def _turn(self) -> None:
        """Wait for something, and do it."""
        wait = _LONGEST_WAIT_S
        if self._plan.rate is not None:
            # The selector waits in whole milliseconds; this one in microseconds.
            if self._idle and self._more(self._clock()):
                due_at = scheduled(self._started_at, self._sent, self._plan.rate)
                wait = min(wait, max(0.0, due_at - self._clock()))
            select.select((self._selector,), (), (), wait)
            wait = 0
        for key, events in self._selector.select(wait):
            key.data(events)

    def _done(self) -> bool:
        if self._answered < self._sent or self._more(self._clock()):
            return False
        receiver = self._receiver
        return receiver is None or (
            len(receiver.arrivals) >= len(self._accepted)
            and receiver.arrivals.keys() >= self._accepted.keys()
        )

    def _silent(self, now: float) -> bool:
        """Whether to stop waiting for webhooks.

        Raises:
            RunFailed: answers are missing.
        """
        heard_at = self._ended_at
        if self._receiver is not None:
            heard_at = max(heard_at, self._receiver.last_at)
        if now - heard_at < SILENCE_S:
            return False
        if self._answered < self._sent:
            raise RunFailed(f"no answer for {SILENCE_S:g} s")
        return True

    def _fraction(self, now: float) -> float:
        plan = self._plan
        if plan.events is not None:
            sent = self._answered / plan.events
        else:
            assert plan.seconds is not None
            sent = (now - self._started_at) / plan.seconds
        if self._receiver is None:
            return min(sent, 1.0)
        return min(sent, 1.0) * len(self._receiver.arrivals) / max(1, len(self._accepted))

    def _arrivals(self, receiver: Receiver) -> Arrivals:
        sent = self._accepted
        latencies = array("d")
        strangers, last_at = 0, self._started_at
        for event_id, arrived_at in receiver.arrivals.items():
            sent_at = sent.get(event_id)
            if sent_at is not None:
                latencies.append(arrived_at - sent_at)
                last_at = arrived_at
            elif event_id not in self._passed_by:
                strangers += 1
        return Arrivals(
            unique=len(latencies),
            repeats=receiver.repeats,
            strangers=strangers,
            latencies=latencies.tobytes(),
            last_at=last_at,
            kept=receiver.kept,
        )


class _Connection:
    """A connection to the server: one request at a time."""

    __slots__ = (
        "_loader",
        "_rest",
        "_socket",
        "_unsent",
        "awaited",
        "dedup_id",
        "since",
        "waiting",
    )

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._socket = loader.connect()
        self._rest = b""
        self._unsent = b""
        self.dedup_id = b""
        self.since = 0.0
        self.awaited = True
        self.waiting = False
        loader.selector.register(self._socket, selectors.EVENT_READ, self._ready)

    def send(self, request: tuple[bytes, bytes], since: float, *, awaited: bool) -> None:
        """Send a request; its latency counts from ``since``; whether its webhook is waited for."""
        content, self.dedup_id = request
        self.since = since
        self.awaited = awaited
        self.waiting = True
        self._write(content)

    def _write(self, content: bytes) -> None:
        try:
            sent = self._socket.send(content)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # reading will say so, too
        if sent < len(content) or self._unsent:
            self._unsent = content[sent:]
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
            self._loader.selector.modify(self._socket, wanted, self._ready)

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE and self._unsent:
            self._write(self._unsent)
        if events & selectors.EVENT_READ:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loader.selector.unregister(self._socket)
            self._socket.close()
            self._loader.hung_up(self)
            return
        buffer = self._rest + data if self._rest else data
        response = scan_response(buffer)
        if response is None:
            self._rest = buffer
        else:
            self._rest = buffer[response.end :]
            self.waiting = False
            self._loader.answered(self, response.status, buffer[response.body : response.end])


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """The loader's process."""
    out = sys.stdout.buffer
    try:
        with contextlib.closing(Loader(_read(sys.stdin.buffer, Plan))) as loader:
            _write(out, _Frame())
            loader.run(lambda fraction: _write(out, _Frame(fraction)))
            _write(out, _Frame(1.0, ended=True))
            _write(out, _Frame(load=loader.result()))
    except RunFailed as error:
        _write(out, _Frame(failure=str(error)))


if __name__ == "__main__":
    main()
