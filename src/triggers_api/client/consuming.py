"""Consuming an inbox in threads: :class:`Inbox`, :class:`Consumer`, :class:`Message`."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from queue import SimpleQueue
from signal import SIGINT, SIGTERM, Signals
from types import FrameType, TracebackType
from typing import Any, Final, Literal, Self, TypeVar

from triggers_api.client import requests
from triggers_api.client.carrier import Carrier, Interrupted, Listing
from triggers_api.client.errors import ClientError, LeaseLost
from triggers_api.client.holding import EMPTY_S, Consumption, Held, Holding, may_pass, retry_delay_s
from triggers_api.client.models import Event, InboxItem, InboxResult, InboxState
from triggers_api.client.sockets import Interrupt

T = TypeVar("T")

logger: Final = logging.getLogger("triggers_api.client")

_AGAIN_S: Final = 1.0
_BRIEF_S: Final = 10.0
_Handler = Callable[[int, FrameType | None], Any] | int | None


class Message:
    """An event to be handled. It is ours until it is acknowledged, given back or lost."""

    def __init__(
        self,
        held: Held,
        is_lost: Callable[[Held], bool],
        settle: Callable[[Held, Literal["ack", "nack"], dict[str, float]], None],
    ) -> None:
        self._held = held
        self._is_lost = is_lost
        self._settle = settle
        self.event: Final = held.item

    @property
    def id(self) -> str:
        """The event's id: what was handled already is known by it."""
        return self.event.id

    @property
    def type(self) -> str:
        """The event's type."""
        return self.event.type

    @property
    def payload(self) -> Any:  # noqa: ANN401 - whatever was sent
        """The payload's value."""
        return self.event.payload

    @property
    def lost(self) -> bool:
        """Whether the lease has ended: somebody else may have the message by now."""
        return self._is_lost(self._held)

    def ack(self) -> None:
        """It is done, and the service knows when this returns.

        Raises:
            LeaseLost: the lease had ended: the message may be handled once more.
        """
        self._settle(self._held, "ack", {})

    def nack(self, *, delay_s: float = 0.0) -> None:
        """It is to come again, after so long.

        Raises:
            LeaseLost: the lease had ended: it comes again anyway.
        """
        self._settle(self._held, "nack", {"delay_s": delay_s})

    def __repr__(self) -> str:
        return f"Message({self.id!r}, {self.type!r})"


class Consumer:
    """Messages of an inbox, one after the other.

    ::

        with client.inbox("orders").consume() as messages:
            for message in messages:
                handle(message.payload)

    A message is acknowledged when the next one is asked for, or the block ends without an exception.
    With one, it comes again after a while, and what waits behind it at once. Without a ``with`` block,
    the message at which the loop is left comes again, too.

    While a message waits or is handled, its lease is extended by a thread beside.
    """

    def __init__(self, run: Carrier, plan: Consumption) -> None:
        self._run = run
        # What is told beside must not keep the end waiting for a service that is gone.
        self._brief = run.with_timeout(min(run.settings.timeout_s, plan.lease_s, _BRIEF_S))
        self._plan = plan.checked()
        self._holding = Holding(plan)
        self._changed = threading.Condition()
        self._ready: SimpleQueue[None] = SimpleQueue()
        self._interrupt = Interrupt()
        self._fetcher: threading.Thread | None = None
        self._keeper: threading.Thread | None = None
        self._before: dict[Signals, _Handler] = {}
        self._in_hand: Held | None = None
        self._failure: BaseException | None = None
        self._in_block = False
        self._stopping = False
        self._closing = False

    # ── for whoever handles messages ──────────────────────────────────────────────────────────

    def __iter__(self) -> Iterator[Message]:
        self._start()
        try:
            while (held := self._next()) is not None:
                self._in_hand = held
                yield self._message(held)
                self._in_hand = None
                self._acked(held)
        finally:
            if not self._in_block:
                self.close()

    def stop(self) -> None:
        """End the loop after the message in hand."""
        self._stopping = True
        self._ready.put(None)

    def close(self) -> None:
        """Give back what is held, and end; the message in hand comes again after a while."""
        if self._in_hand is not None:
            self._failed(self._in_hand)
            self._in_hand = None
        self.stop()
        self._interrupt.set()
        with self._changed:
            self._changed.notify_all()
        if self._fetcher is not None:
            self._fetcher.join()
        # Nothing comes any more: what is told now is all.
        with self._changed:
            self._closing = True
            self._holding.release()
            self._changed.notify_all()
        if self._keeper is not None:
            self._keeper.join()
        self._restore_signals()

    def __enter__(self) -> Self:
        self._in_block = True
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._in_hand is not None:
            self._acked(self._in_hand)
            self._in_hand = None
        self._in_block = False
        self.close()

    def run(self, handler: Callable[[Message], Any], *, concurrency: int = 1) -> None:
        """Have messages handled until it is stopped; as ``run`` of the inbox."""
        with self:
            workers = [
                threading.Thread(
                    target=self._work, args=(handler,), name=f"triggers-handler-{number}"
                )
                for number in range(1, concurrency)
            ]
            for worker in workers:
                worker.start()
            try:
                self._work(handler)
            finally:
                self.stop()
                for worker in workers:
                    worker.join()
        if self._failure is not None:
            raise self._failure

    def _work(self, handler: Callable[[Message], Any]) -> None:
        with suppress(ClientError):  # raised once, by run
            while (held := self._next()) is not None:
                try:
                    handler(self._message(held))
                except Exception:  # noqa: BLE001 - the loop goes on
                    logger.warning("message %s was not handled", held.item.id, exc_info=True)
                    self._failed(held)
                except BaseException:
                    self._failed(held)
                    raise
                else:
                    self._acked(held)

    # ── for messages ──────────────────────────────────────────────────────────────────────────

    def _message(self, held: Held) -> Message:
        return Message(held, self._is_lost, self._settle_one)

    def _is_lost(self, held: Held) -> bool:
        return self._holding.is_lost(held, time.monotonic())

    def _settle_one(self, held: Held, verb: Literal["ack", "nack"], more: dict[str, float]) -> None:
        named = {"receipts": [held.item.receipt], **more}
        (result,) = self._run(requests.settle(self._plan.name, verb, named))
        with self._changed:
            self._holding.settled(held)
        if result.status not in {"acked", "nacked"}:
            raise LeaseLost(f"the lease of {held.item.id} has ended")

    def _acked(self, held: Held) -> None:
        with self._changed:
            self._holding.acked(held)
            self._changed.notify_all()

    def _failed(self, held: Held) -> None:
        with self._changed:
            self._holding.nacked(held, self._plan.retry_delay_s(held.item))
            self._changed.notify_all()

    def _next(self) -> Held | None:
        """The next message, as soon as there is one; ``None`` when it is to end.

        Raises:
            ClientError: there will not be any more.
        """
        while True:
            self._ready.get()
            if self._failure is not None or self._stopping:
                self._ready.put(None)  # for the next one who waits
                if self._failure is not None:
                    raise self._failure
                return None
            with self._changed:
                held = self._holding.take(time.monotonic())
                self._changed.notify_all()
            if held is not None:
                return held

    # ── beside it ─────────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        if self._fetcher is not None or self._stopping:
            return
        if threading.current_thread() is threading.main_thread():
            for each in self._plan.stop_on:
                self._before[each] = signal.signal(each, self._on_signal)
        self._fetcher = self._beside("fetcher", self._fetch)
        self._keeper = self._beside("keeper", self._keep)

    def _beside(self, name: str, loop: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(
            target=self._guarded, args=(loop,), name=f"triggers-{name}", daemon=True
        )
        thread.start()
        return thread

    def _on_signal(self, *_: object) -> None:
        self._restore_signals()  # the second one does what it always did
        self.stop()

    def _restore_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for each, before in self._before.items():
                signal.signal(each, before)
            self._before = {}

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except Interrupted:
            return
        except Exception as error:  # noqa: BLE001 - raised where messages are asked for
            self._failure = error
            self._ready.put(None)

    def _fetch(self) -> None:
        while not self._stopping:
            with self._changed:
                wanted = self._holding.wanted()
                if not wanted:
                    if not self._stopping:
                        self._changed.wait(self._plan.lease_s)
                    continue
            call = requests.pull(
                self._plan.name,
                limit=wanted,
                lease_s=self._plan.lease_s,
                types=self._plan.types,
                wait_s=self._plan.wait_s,
            )
            begun = time.monotonic()
            items = self._tried(partial(self._run, call, self._interrupt))
            if items == ():
                self._interrupt.wait(EMPTY_S - (time.monotonic() - begun))
            if items:
                with self._changed:
                    count = self._holding.pulled(items, time.monotonic())
                for _ in range(count):
                    self._ready.put(None)

    def _keep(self) -> None:
        while True:
            with self._changed:
                acks, nacks = self._holding.outgoing()
                due = self._holding.to_extend(time.monotonic())
                if not (acks or nacks or due):
                    if self._closing:
                        return
                    self._changed.wait(self._holding.look_again_s())
                    continue
            if due:
                self._extend(due)
            if acks:
                self._tell("ack", acks, {})
            for delay_s, those in nacks.items():
                self._tell("nack", those, {"delay_s": delay_s})

    def _extend(self, those: list[Held]) -> None:
        asked_at = time.monotonic()
        results = self._tried(
            lambda: self._settle("extend", those, {"lease_s": self._plan.lease_s})
        )
        if results is not None:
            with self._changed:
                self._holding.extended(those, results, asked_at=asked_at)

    def _tell(
        self, verb: Literal["ack", "nack"], those: list[Held], more: dict[str, float]
    ) -> None:
        while (results := self._tried(lambda: self._settle(verb, those, more))) is None:
            if self._closing:
                logger.warning(
                    "the service was not told of %d messages: they come again", len(those)
                )
                return
        with self._changed:
            lost = self._holding.told(those, results)
        for item in lost:
            logger.warning("the lease of %s had ended before it was to %s", item.id, verb)

    def _settle(
        self,
        verb: Literal["ack", "nack", "extend"],
        those: list[Held],
        more: dict[str, float],
    ) -> tuple[InboxResult, ...]:
        named = {"receipts": [held.item.receipt for held in those], **more}
        return self._brief(requests.settle(self._plan.name, verb, named))

    def _tried(self, call: Callable[[], T]) -> T | None:
        """What a call came to; ``None`` where it may come to something later."""
        try:
            return call()
        except ClientError as error:
            if not may_pass(error):
                raise
            logger.warning("the inbox is not reached: %s", error)
            self._interrupt.wait(_AGAIN_S)
            return None


class Inbox:
    """An inbox: the organization's events for a consumer that fetches them at its own pace.

    Attributes:
        name: ``None`` for the default one.
    """

    def __init__(self, run: Carrier, name: str | None) -> None:
        self._run = run
        self.name: Final = name

    def consume(
        self,
        *,
        types: Sequence[str] | None = None,
        prefetch: int = 10,
        lease_s: float = 30.0,
        wait_s: float = 20.0,
        hold_for_s: float = 3600.0,
        retry_delay_s: Callable[[InboxItem], float] = retry_delay_s,
        stop_on: Sequence[Signals] = (),
    ) -> Consumer:
        """Messages as they come in, for as long as they are asked for.

        Args:
            types: patterns; of others nothing is pulled.
            prefetch: how many messages may wait to be handled.
            lease_s: for how long a message is held before it must be extended, which is done beside.
            wait_s: how long a request waits for the first message, 0 to 30.
            hold_for_s: a message that is held for longer is given up: whoever handles it hangs.
            retry_delay_s: how long a message is put off whose handling failed; by default 1 s, then
                twice as long each time, up to 5 minutes.
            stop_on: signals that end the loop after the message in hand; of the main thread only.
        """
        return Consumer(
            self._run,
            Consumption(
                name=self.name,
                types=types,
                prefetch=prefetch,
                lease_s=lease_s,
                wait_s=wait_s,
                hold_for_s=hold_for_s,
                retry_delay_s=retry_delay_s,
                stop_on=stop_on,
            ),
        )

    def run(
        self,
        handler: Callable[[Message], Any],
        *,
        concurrency: int = 1,
        types: Sequence[str] | None = None,
        prefetch: int = 10,
        lease_s: float = 30.0,
        wait_s: float = 20.0,
        hold_for_s: float = 3600.0,
        retry_delay_s: Callable[[InboxItem], float] = retry_delay_s,
        stop_on: Sequence[Signals] = (SIGINT, SIGTERM),
    ) -> None:
        """Have messages handled until a signal comes: ``concurrency`` at a time, each in a thread.

        What returns is acknowledged. What raises is logged, and comes again after a while; the loop
        goes on.

        Args:
            handler: is given a message.
            concurrency: how many at a time.
            types: as in :meth:`consume`.
            prefetch: as in :meth:`consume`.
            lease_s: as in :meth:`consume`.
            wait_s: as in :meth:`consume`.
            hold_for_s: as in :meth:`consume`.
            retry_delay_s: as in :meth:`consume`.
            stop_on: signals that end it after what is in hand; ``()`` where somebody else minds signals.

        Raises:
            ClientError: the service refuses for good.
        """
        self.consume(
            types=types,
            prefetch=prefetch,
            lease_s=lease_s,
            wait_s=wait_s,
            hold_for_s=hold_for_s,
            retry_delay_s=retry_delay_s,
            stop_on=stop_on,
        ).run(handler, concurrency=concurrency)

    def pull(
        self,
        limit: int = 10,
        *,
        lease_s: float | None = None,
        types: Sequence[str] | None = None,
        wait_s: float = 0.0,
    ) -> tuple[InboxItem, ...]:
        """Have events handed out; nobody else gets them while their lease lasts (30 s)."""
        call = requests.pull(self.name, limit=limit, lease_s=lease_s, types=types, wait_s=wait_s)
        return self._run(call)

    def ack(
        self, *, receipts: Sequence[str] | None = None, ids: Sequence[str] | None = None
    ) -> tuple[InboxResult, ...]:
        """They are done: by receipt while the lease lasts, by id whoever has them."""
        return self._run(requests.settle(self.name, "ack", {"receipts": receipts, "ids": ids}))

    def nack(
        self,
        *,
        receipts: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        delay_s: float | None = None,
    ) -> tuple[InboxResult, ...]:
        """They are to come again, at once or after ``delay_s``."""
        named = {"receipts": receipts, "ids": ids, "delay_s": delay_s}
        return self._run(requests.settle(self.name, "nack", named))

    def extend(
        self,
        lease_s: float,
        *,
        receipts: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
    ) -> tuple[InboxResult, ...]:
        """Their lease lasts for so long from now."""
        named = {"receipts": receipts, "ids": ids, "lease_s": lease_s}
        return self._run(requests.settle(self.name, "extend", named))

    def peek(
        self,
        *,
        type: str | None = None,  # noqa: A002 - the parameter's name
        page_size: int = requests.PAGE_SIZE,
        cursor: str | None = None,
    ) -> Listing[Event]:
        """What was not acknowledged, oldest first; nothing changes by looking."""
        return Listing(self._run, requests.peek(self.name, page_size, type), cursor)

    def seek(self, to: str | datetime) -> InboxState:
        """Go on at ``start``, ``end``, a time or an event's id; all from there on comes again."""
        return self._run(requests.seek(self.name, to))

    def save(
        self, *, types: Sequence[str] | None = None, start: Literal["start", "end"] | None = None
    ) -> InboxState:
        """Make it, beginning at the first event or at the ``end``; or give one other types."""
        return self._run(requests.save_inbox(self._named(), types, start))

    def state(self) -> InboxState:
        """What is in it."""
        return self._run(requests.get_inbox(self._named()))

    def delete(self) -> None:
        """Forget its place; the events stay."""
        self._run(requests.delete_inbox(self._named()))

    def _named(self) -> str:
        return "default" if self.name is None else self.name


class Inboxes:
    """All inboxes of the organization."""

    def __init__(self, run: Carrier) -> None:
        self._run = run

    def list(
        self, *, page_size: int = requests.PAGE_SIZE, cursor: str | None = None
    ) -> Listing[InboxState]:
        """By name."""
        return Listing(self._run, requests.list_inboxes(page_size), cursor)
