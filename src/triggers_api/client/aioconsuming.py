"""Consuming an inbox in an event loop; see :mod:`triggers_api.client.consuming`."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from signal import SIGINT, SIGTERM, Signals
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

from triggers_api.client import requests
from triggers_api.client.aiocarrier import AioCarrier, AsyncListing
from triggers_api.client.errors import ClientError, LeaseLost
from triggers_api.client.holding import EMPTY_S, Consumption, Held, Holding, may_pass, retry_delay_s
from triggers_api.client.models import Event, InboxItem, InboxResult, InboxState

T = TypeVar("T")

logger: Final = logging.getLogger("triggers_api.client")

_AGAIN_S: Final = 1.0
_BRIEF_S: Final = 10.0


class AsyncMessage:
    """An event to be handled. It is ours until it is acknowledged, given back or lost."""

    def __init__(
        self,
        held: Held,
        is_lost: Callable[[Held], bool],
        settle: Callable[[Held, Literal["ack", "nack"], dict[str, float]], Awaitable[None]],
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

    async def ack(self) -> None:
        """It is done, and the service knows when this returns.

        Raises:
            LeaseLost: the lease had ended: the message may be handled once more.
        """
        await self._settle(self._held, "ack", {})

    async def nack(self, *, delay_s: float = 0.0) -> None:
        """It is to come again, after so long.

        Raises:
            LeaseLost: the lease had ended: it comes again anyway.
        """
        await self._settle(self._held, "nack", {"delay_s": delay_s})

    def __repr__(self) -> str:
        return f"AsyncMessage({self.id!r}, {self.type!r})"


class AsyncConsumer:
    """Messages of an inbox, one after the other.

    ::

        async with client.inbox("orders").consume() as messages:
            async for message in messages:
                await handle(message.payload)

    A message is acknowledged when the next one is asked for, or the block ends without an exception.
    With one, it comes again after a while, and what waits behind it at once. Without an ``async with``
    block, the message at which the loop is left comes again, too.

    While a message waits or is handled, its lease is extended by a task beside.
    """

    def __init__(self, run: AioCarrier, plan: Consumption) -> None:
        self._run = run
        # What is told beside must not keep the end waiting for a service that is gone.
        self._brief = run.with_timeout(min(run.settings.timeout_s, plan.lease_s, _BRIEF_S))
        self._plan = plan.checked()
        self._holding = Holding(plan)
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._ready: asyncio.Queue[None] = asyncio.Queue()
        self._fetcher: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._before: dict[Signals, Any] = {}
        self._in_hand: Held | None = None
        self._failure: BaseException | None = None
        self._in_block = False
        self._stopping = False
        self._closing = False

    # ── for whoever handles messages ──────────────────────────────────────────────────────────

    async def __aiter__(self) -> AsyncIterator[AsyncMessage]:
        self._start()
        try:
            while (held := await self._next()) is not None:
                self._in_hand = held
                yield self._message(held)
                self._in_hand = None
                self._acked(held)
        finally:
            if not self._in_block and not self._closing:
                await self.close()

    def stop(self) -> None:
        """End the loop after the message in hand."""
        self._stopping = True
        self._ready.put_nowait(None)

    async def close(self) -> None:
        """Give back what is held, and end; the message in hand comes again after a while."""
        if self._in_hand is not None:
            self._failed(self._in_hand)
            self._in_hand = None
        self.stop()
        self._closing = True
        if self._fetcher is not None:
            self._fetcher.cancel()
            await asyncio.wait([self._fetcher])
        self._holding.release()
        self._changed.set()
        if self._keeper is not None:
            await asyncio.wait([self._keeper])
        self._restore_signals()

    async def __aenter__(self) -> Self:
        self._in_block = True
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._in_hand is not None:
            self._acked(self._in_hand)
            self._in_hand = None
        self._in_block = False
        await self.close()

    async def run(
        self, handler: Callable[[AsyncMessage], Awaitable[Any]], *, concurrency: int = 1
    ) -> None:
        """Have messages handled until it is stopped; as ``run`` of the inbox."""
        async with self:
            workers = [asyncio.create_task(self._work(handler)) for _ in range(concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                self.stop()
                for worker in workers:
                    worker.cancel()
                await asyncio.wait(workers)
        if self._failure is not None:
            raise self._failure

    async def _work(self, handler: Callable[[AsyncMessage], Awaitable[Any]]) -> None:
        with suppress(ClientError):  # raised once, by run
            while (held := await self._next()) is not None:
                try:
                    await handler(self._message(held))
                except Exception:  # noqa: BLE001 - the loop goes on
                    logger.warning("message %s was not handled", held.item.id, exc_info=True)
                    self._failed(held)
                except BaseException:
                    self._failed(held)
                    raise
                else:
                    self._acked(held)

    # ── for messages ──────────────────────────────────────────────────────────────────────────

    def _message(self, held: Held) -> AsyncMessage:
        return AsyncMessage(held, self._is_lost, self._settle_one)

    def _is_lost(self, held: Held) -> bool:
        return self._holding.is_lost(held, time.monotonic())

    async def _settle_one(
        self, held: Held, verb: Literal["ack", "nack"], more: dict[str, float]
    ) -> None:
        named = {"receipts": [held.item.receipt], **more}
        (result,) = await self._run(requests.settle(self._plan.name, verb, named))
        self._holding.settled(held)
        if result.status not in {"acked", "nacked"}:
            raise LeaseLost(f"the lease of {held.item.id} has ended")

    def _acked(self, held: Held) -> None:
        self._holding.acked(held)
        self._changed.set()

    def _failed(self, held: Held) -> None:
        self._holding.nacked(held, self._plan.retry_delay_s(held.item))
        self._changed.set()

    async def _next(self) -> Held | None:
        """The next message, as soon as there is one; ``None`` when it is to end.

        Raises:
            ClientError: there will not be any more.
        """
        while True:
            await self._ready.get()
            if self._failure is not None or self._stopping:
                self._ready.put_nowait(None)  # for the next one who waits
                if self._failure is not None:
                    raise self._failure
                return None
            held = self._holding.take(time.monotonic())
            self._room.set()
            if held is not None:
                return held

    # ── beside it ─────────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        if self._fetcher is not None or self._stopping:
            return
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            # Not by the loop's own means: they come a turn later, when the next message is in hand.
            for each in self._plan.stop_on:
                self._before[each] = signal.signal(each, self._on_signal)
        self._fetcher = asyncio.create_task(self._guarded(self._fetch()))
        self._keeper = asyncio.create_task(self._guarded(self._keep()))

    def _on_signal(self, *_: object) -> None:
        self._restore_signals()  # the second one does what it always did
        self._stopping = True
        self._loop.call_soon_threadsafe(self.stop)

    def _restore_signals(self) -> None:
        before, self._before = self._before, {}
        for each, handler in before.items():
            signal.signal(each, handler)

    async def _guarded(self, loop: Awaitable[None]) -> None:
        try:
            await loop
        except Exception as error:  # noqa: BLE001 - raised where messages are asked for
            self._failure = error
            self._ready.put_nowait(None)

    async def _fetch(self) -> None:
        while not self._stopping:
            wanted = self._holding.wanted()
            if not wanted:
                self._room.clear()
                await self._room.wait()
                continue
            call = requests.pull(
                self._plan.name,
                limit=wanted,
                lease_s=self._plan.lease_s,
                types=self._plan.types,
                wait_s=self._plan.wait_s,
            )
            begun = time.monotonic()
            items = await self._tried(self._run(call))
            if items == ():
                await asyncio.sleep(EMPTY_S - (time.monotonic() - begun))
            if items:
                for _ in range(self._holding.pulled(items, time.monotonic())):
                    self._ready.put_nowait(None)

    async def _keep(self) -> None:
        while True:
            acks, nacks = self._holding.outgoing()
            due = self._holding.to_extend(time.monotonic())
            if not (acks or nacks or due):
                if self._closing:
                    return
                self._changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), self._holding.look_again_s())
                continue
            if due:
                await self._extend(due)
            if acks:
                await self._tell("ack", acks, {})
            for delay_s, those in nacks.items():
                await self._tell("nack", those, {"delay_s": delay_s})

    async def _extend(self, those: list[Held]) -> None:
        asked_at = time.monotonic()
        lease_s = {"lease_s": self._plan.lease_s}
        results = await self._tried(self._settle("extend", those, lease_s))
        if results is not None:
            self._holding.extended(those, results, asked_at=asked_at)

    async def _tell(
        self, verb: Literal["ack", "nack"], those: list[Held], more: dict[str, float]
    ) -> None:
        while (results := await self._tried(self._settle(verb, those, more))) is None:
            if self._closing:
                logger.warning(
                    "the service was not told of %d messages: they come again", len(those)
                )
                return
        for item in self._holding.told(those, results):
            logger.warning("the lease of %s had ended before it was to %s", item.id, verb)

    async def _settle(
        self,
        verb: Literal["ack", "nack", "extend"],
        those: list[Held],
        more: dict[str, float],
    ) -> tuple[InboxResult, ...]:
        named = {"receipts": [held.item.receipt for held in those], **more}
        return await self._brief(requests.settle(self._plan.name, verb, named))

    async def _tried(self, call: Awaitable[T]) -> T | None:
        """What a call came to; ``None`` where it may come to something later."""
        try:
            return await call
        except ClientError as error:
            if not may_pass(error):
                raise
            logger.warning("the inbox is not reached: %s", error)
            if not self._closing:
                await asyncio.sleep(_AGAIN_S)
            return None


class AsyncInbox:
    """An inbox: the organization's events for a consumer that fetches them at its own pace.

    Attributes:
        name: ``None`` for the default one.
    """

    def __init__(self, run: AioCarrier, name: str | None) -> None:
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
    ) -> AsyncConsumer:
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
        return AsyncConsumer(
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

    async def run(
        self,
        handler: Callable[[AsyncMessage], Awaitable[Any]],
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
        """Have messages handled until a signal comes: ``concurrency`` at a time, each in a task.

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
        await self.consume(
            types=types,
            prefetch=prefetch,
            lease_s=lease_s,
            wait_s=wait_s,
            hold_for_s=hold_for_s,
            retry_delay_s=retry_delay_s,
            stop_on=stop_on,
        ).run(handler, concurrency=concurrency)

    async def pull(
        self,
        limit: int = 10,
        *,
        lease_s: float | None = None,
        types: Sequence[str] | None = None,
        wait_s: float = 0.0,
    ) -> tuple[InboxItem, ...]:
        """Have events handed out; nobody else gets them while their lease lasts (30 s)."""
        call = requests.pull(self.name, limit=limit, lease_s=lease_s, types=types, wait_s=wait_s)
        return await self._run(call)

    async def ack(
        self, *, receipts: Sequence[str] | None = None, ids: Sequence[str] | None = None
    ) -> tuple[InboxResult, ...]:
        """They are done: by receipt while the lease lasts, by id whoever has them."""
        return await self._run(
            requests.settle(self.name, "ack", {"receipts": receipts, "ids": ids})
        )

    async def nack(
        self,
        *,
        receipts: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        delay_s: float | None = None,
    ) -> tuple[InboxResult, ...]:
        """They are to come again, at once or after ``delay_s``."""
        named = {"receipts": receipts, "ids": ids, "delay_s": delay_s}
        return await self._run(requests.settle(self.name, "nack", named))

    async def extend(
        self,
        lease_s: float,
        *,
        receipts: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
    ) -> tuple[InboxResult, ...]:
        """Their lease lasts for so long from now."""
        named = {"receipts": receipts, "ids": ids, "lease_s": lease_s}
        return await self._run(requests.settle(self.name, "extend", named))

    def peek(
        self,
        *,
        type: str | None = None,  # noqa: A002 - the parameter's name
        page_size: int = requests.PAGE_SIZE,
        cursor: str | None = None,
    ) -> AsyncListing[Event]:
        """What was not acknowledged, oldest first; nothing changes by looking."""
        return AsyncListing(self._run, requests.peek(self.name, page_size, type), cursor)

    async def seek(self, to: str | datetime) -> InboxState:
        """Go on at ``start``, ``end``, a time or an event's id; all from there on comes again."""
        return await self._run(requests.seek(self.name, to))

    async def save(
        self, *, types: Sequence[str] | None = None, start: Literal["start", "end"] | None = None
    ) -> InboxState:
        """Make it, beginning at the first event or at the ``end``; or give one other types."""
        return await self._run(requests.save_inbox(self._named(), types, start))

    async def state(self) -> InboxState:
        """What is in it."""
        return await self._run(requests.get_inbox(self._named()))

    async def delete(self) -> None:
        """Forget its place; the events stay."""
        await self._run(requests.delete_inbox(self._named()))

    def _named(self) -> str:
        return "default" if self.name is None else self.name


class AsyncInboxes:
    """All inboxes of the organization."""

    def __init__(self, run: AioCarrier) -> None:
        self._run = run

    def list(
        self, *, page_size: int = requests.PAGE_SIZE, cursor: str | None = None
    ) -> AsyncListing[InboxState]:
        """By name."""
        return AsyncListing(self._run, requests.list_inboxes(page_size), cursor)
