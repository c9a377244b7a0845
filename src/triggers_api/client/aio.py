"""The client for event loops: :class:`AsyncClient`. See :mod:`triggers_api.client.blocking`."""

import asyncio
import builtins
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack

from msgspec import UNSET

from triggers_api.client import requests
from triggers_api.client.aiocarrier import AioCarrier, AsyncListing
from triggers_api.client.aioconsuming import AsyncInbox, AsyncInboxes
from triggers_api.client.aiosockets import AioStream
from triggers_api.client.attempts import DEFAULT_RETRY, Lost, Retry
from triggers_api.client.calls import Call, anything, encoded, query_of
from triggers_api.client.errors import ClientError, SendInterrupted, TooLarge
from triggers_api.client.following import Following
from triggers_api.client.models import (
    BatchReport,
    Delivery,
    DeliveryDetail,
    Event,
    EventDetail,
    EventType,
    Explanation,
    Hook,
    Job,
    NewEvent,
    Organization,
    Sent,
    Subscription,
    SubscriptionStats,
)
from triggers_api.client.sending import Batch, Cutter, outgoing, refused, send_batch, send_one
from triggers_api.client.settings import ClientSettings

T = TypeVar("T")


async def _each(events: Iterable[NewEvent] | AsyncIterable[NewEvent]) -> AsyncIterator[NewEvent]:
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event
    else:
        for event in events:
            yield event


class AsyncEvents:
    """Events that were accepted."""

    def __init__(self, run: AioCarrier) -> None:
        self._run = run

    async def get(self, event_id: str) -> EventDetail:
        """An event with its deliveries and timeline."""
        return await self._run(requests.get_event(event_id))

    def list(
        self,
        *,
        page_size: int = requests.PAGE_SIZE,
        cursor: str | None = None,
        **wanted: Unpack[requests.EventFilter],
    ) -> AsyncListing[Event]:
        """Those for which all that is given holds, newest first; all of them if nothing is."""
        return AsyncListing(self._run, requests.list_events(page_size, wanted), cursor)

    def stream(self, *, type: str | None = None, after: str | None = None) -> "AsyncEventStream":  # noqa: A002
        """Events as they come in, for as long as it is read; broken connections are made again.

        Args:
            type: a pattern of types.
            after: begin behind this event instead of now.
        """
        return AsyncEventStream(self._run, type, after)

    async def explain(self, event_id: str) -> Explanation:
        """Why each subscription gets an event, or not."""
        return await self._run(requests.explain_event(event_id))

    async def replay(
        self, event_id: str, *, subscription_ids: Sequence[str] | None = None
    ) -> tuple[Delivery, ...]:
        """Deliver an event once more: to these subscriptions, or to all that match it now."""
        return await self._run(requests.replay_event(event_id, subscription_ids))

    async def cancel(self, event_id: str) -> EventDetail:
        """End one that is scheduled or queued: nobody gets it. Its dedup_id stays taken."""
        return await self._run(requests.cancel_event(event_id))

    async def delete(self, event_id: str) -> None:
        """Erase the payload, cancel what is pending, and free the dedup_id."""
        await self._run(requests.delete_event(event_id))


class AsyncEventStream:
    """Events as they come in, from when the ``async with`` block begins to its end."""

    def __init__(self, run: AioCarrier, pattern: str | None, after: str | None) -> None:
        self._run = run
        self._following = Following(pattern, after)
        self._stream: AioStream | None = None
        self._closed = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Event]:
        following = self._following
        await self._anchor()
        while not self._closed.is_set():
            try:
                async for event in self._connection():
                    yield event
                pause_s = following.after_end()
            except Lost as lost:
                if self._closed.is_set():
                    return
                pause_s = following.after_loss(lost)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), pause_s)

    async def _anchor(self) -> None:
        if self._following.needs_anchor:
            newest = await self._run(self._following.newest())
            self._following.anchored(newest.data)

    async def _connection(self) -> AsyncIterator[Event]:
        self._stream = stream = await self._run.follow(self._following)
        try:
            if stream.status != 200:
                self._following.refused(await stream.answer())
                return
            async for piece in stream:
                for event in self._following.feed(piece):
                    yield event
        finally:
            stream.close()

    async def close(self) -> None:
        """End it."""
        self._closed.set()
        if self._stream is not None:
            self._stream.close()

    async def __aenter__(self) -> Self:
        await self._anchor()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncSubscriptions:
    """Who gets which events."""

    def __init__(self, run: AioCarrier) -> None:
        self._run = run

    async def create(
        self,
        url: str,
        event_types: Sequence[str] = ("*",),
        **settings: Unpack[requests.NewSubscription],
    ) -> Subscription:
        """Deliver every matching event from now on to a URL; this answer alone has the ``secret``."""
        return await self._run(requests.create_subscription(url, event_types, settings))

    def list(
        self, *, page_size: int = requests.PAGE_SIZE, cursor: str | None = None
    ) -> AsyncListing[Subscription]:
        """All of them, newest first."""
        return AsyncListing(self._run, requests.list_subscriptions(page_size), cursor)

    async def get(self, subscription_id: str) -> Subscription:
        """A subscription, without its secret."""
        return await self._run(requests.get_subscription(subscription_id))

    async def change(
        self, subscription_id: str, **change: Unpack[requests.SubscriptionChange]
    ) -> Subscription:
        """Change what is given; ``None`` puts a default back."""
        return await self._run(requests.change_subscription(subscription_id, change))

    async def delete(self, subscription_id: str) -> None:
        """End it, and cancel what is pending for it."""
        await self._run(requests.delete_subscription(subscription_id))

    async def pause(self, subscription_id: str) -> Subscription:
        """Let its events wait until it is resumed."""
        return await self._run(requests.switch_subscription(subscription_id, "pause"))

    async def resume(self, subscription_id: str) -> Subscription:
        """Send what waited; also brings back one that was disabled."""
        return await self._run(requests.switch_subscription(subscription_id, "resume"))

    async def rotate_secret(
        self,
        subscription_id: str,
        *,
        grace_s: float | None = None,
        signature: Literal["v1", "v1a"] | None = None,
    ) -> Subscription:
        """Replace the secret; the one before signs beside it for ``grace_s`` (a day)."""
        return await self._run(requests.rotate_secret(subscription_id, grace_s, signature))

    async def test(
        self,
        subscription_id: str,
        *,
        type: str | None = None,  # noqa: A002 - the field's name
        payload: Any = UNSET,  # noqa: ANN401 - whatever JSON can say
    ) -> Delivery:
        """Send it, and nobody else, a test event; what is not given is the service's own."""
        return await self._run(requests.check_subscription(subscription_id, type, payload))

    async def stats(
        self, subscription_id: str, *, since: datetime | None = None, until: datetime | None = None
    ) -> SubscriptionStats:
        """How its deliveries have fared, within the last day if nothing is given."""
        return await self._run(requests.subscription_stats(subscription_id, since, until))


class AsyncDeliveries:
    """Events on their way to subscriptions."""

    def __init__(self, run: AioCarrier) -> None:
        self._run = run

    def list(
        self,
        *,
        page_size: int = requests.PAGE_SIZE,
        cursor: str | None = None,
        **wanted: Unpack[requests.DeliveryFilter],
    ) -> AsyncListing[Delivery]:
        """Those for which all that is given holds, newest first."""
        return AsyncListing(self._run, requests.list_deliveries(page_size, wanted), cursor)

    async def get(self, delivery_id: str) -> DeliveryDetail:
        """A delivery with every attempt."""
        return await self._run(requests.get_delivery(delivery_id))

    async def retry(self, delivery_id: str) -> DeliveryDetail:
        """Open a dead, skipped or cancelled one again, now."""
        return await self._run(requests.act_on_delivery(delivery_id, "retry"))

    async def cancel(self, delivery_id: str) -> DeliveryDetail:
        """End one that is not finished."""
        return await self._run(requests.act_on_delivery(delivery_id, "cancel"))


class AsyncDeadLetters:
    """Deliveries whose attempts are used up."""

    def __init__(self, run: AioCarrier) -> None:
        self._run = run

    def list(
        self,
        *,
        page_size: int = requests.PAGE_SIZE,
        cursor: str | None = None,
        **wanted: Unpack[requests.DeadLetterFilter],
    ) -> AsyncListing[Delivery]:
        """Those for which all that is given holds, newest first."""
        return AsyncListing(self._run, requests.list_dead_letters(page_size, wanted), cursor)

    async def replay(
        self,
        *,
        rate: float | None = None,
        dry_run: bool = False,
        **wanted: Unpack[requests.DeadLetterFilter],
    ) -> Job:
        """Deliver them once more, as a job; at most ``rate`` a second."""
        return await self._run(requests.replay_dead_letters(wanted, rate, dry_run=dry_run))

    async def purge(
        self, *, everything: bool = False, **wanted: Unpack[requests.DeadLetterFilter]
    ) -> Job:
        """Delete them with their attempts, as a job; all of them only where ``everything`` says so."""
        return await self._run(requests.purge_dead_letters(wanted, everything=everything))


class AsyncJobs:
    """Work on many deliveries."""

    def __init__(self, run: AioCarrier) -> None:
        self._run = run

    async def replay(
        self,
        *,
        rate: float | None = None,
        dry_run: bool = False,
        **wanted: Unpack[requests.ReplayFilter],
    ) -> Job:
        """Deliver once more what all that is given holds for; at most ``rate`` a second."""
        return await self._run(requests.create_replay(wanted, rate, dry_run=dry_run))

    def list(
        self, *, page_size: int = requests.PAGE_SIZE, cursor: str | None = None
    ) -> AsyncListing[Job]:
        """All of them, newest first."""
        return AsyncListing(self._run, requests.list_jobs(page_size), cursor)

    async def get(self, job_id: str) -> Job:
        """A job and how far it has come."""
        return await self._run(requests.get_job(job_id))

    async def cancel(self, job_id: str) -> Job:
        """Stop it where it is."""
        return await self._run(requests.cancel_job(job_id))

    async def wait(self, job_id: str, *, timeout_s: float, poll_s: float = 0.5) -> Job:
        """The job when it is finished.

        Raises:
            TimeoutError: it is not, after so long.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        while not (job := await self.get(job_id)).finished:
            if clock() + poll_s > deadline:
                raise TimeoutError(f"the job is {job.status} after {timeout_s:g} s")
            await asyncio.sleep(poll_s)
        return job


class AsyncEventTypes:
    """What the organization says of the events that it sends."""

    def __init__(self, run: AioCarrier) -> None:
        self._run = run

    async def save(self, name: str, **settings: Unpack[requests.EventTypeSettings]) -> EventType:
        """Create it, or replace it as a whole."""
        return await self._run(requests.save_event_type(name, settings))

    def list(
        self, *, page_size: int = requests.PAGE_SIZE, cursor: str | None = None
    ) -> AsyncListing[EventType]:
        """By name."""
        return AsyncListing(self._run, requests.list_event_types(page_size), cursor)

    async def get(self, name: str) -> EventType:
        """With its schema and example."""
        return await self._run(requests.get_event_type(name))

    async def delete(self, name: str) -> None:
        """Its events are taken as they come from then on."""
        await self._run(requests.delete_event_type(name))


class AsyncHooks:
    """Subscriptions as no-code tools make them."""

    def __init__(self, run: AioCarrier) -> None:
        self._run = run

    async def create(self, target_url: str, event: str) -> Hook:
        """Every matching event from now on goes there, in the flat format; once, however often asked."""
        return await self._run(requests.create_hook(target_url, event))

    def list(
        self,
        *,
        target_url: str | None = None,
        page_size: int = requests.PAGE_SIZE,
        cursor: str | None = None,
    ) -> AsyncListing[Hook]:
        """Those that are alive, newest first; with ``target_url`` those that lead there."""
        return AsyncListing(self._run, requests.list_hooks(page_size, target_url), cursor)

    async def delete(self, hook_id: str) -> None:
        """End it; ending it again is fine."""
        await self._run(requests.delete_hook(hook_id))

    async def samples(self, event_type: str, *, limit: int | None = None) -> "builtins.list[Any]":
        """The newest events of a type, each as a hook is sent it; a made-up one where there is none."""
        return await self._run(requests.hook_samples(event_type, limit))


class AsyncOwnOrganization:
    """The organization whose key is used."""

    def __init__(self, run: AioCarrier) -> None:
        self._run = run

    async def get(self) -> Organization:
        """Its name, limits and webhook_url."""
        return await self._run(requests.get_organization())

    async def change(self, **change: Any) -> Organization:  # noqa: ANN401 - name, webhook_url
        """Change ``name`` or ``webhook_url``; ``None`` ends the latter."""
        return await self._run(requests.change_organization(change))


class AsyncClient:
    """Sends events, and asks for everything that is known of them. One event loop may.

    ::

        async with AsyncClient("https://events.example.com", api_key) as client:
            await client.send("order.created", {"id": 42}, key="customer-7")

    What fails on the way is tried again, as long as that is safe and the time allows. An event has a
    dedup_id, its own or one that is made here, and is stored once, however often it is sent.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        attempt_timeout_s: float = 10.0,
        retry: Retry = DEFAULT_RETRY,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Nothing is connected yet.

        Args:
            url: the service; by default ``TRIGGERS_URL``, or else ``http://127.0.0.1:8000``.
            api_key: by default ``TRIGGERS_API_KEY``.
            timeout_s: how long a call may take with all its attempts and pauses.
            attempt_timeout_s: how long one attempt may take.
            retry: how often, and after how long, a call is tried again.
            ssl_context: for https; by default what the system trusts is trusted.

        Raises:
            ValueError: one of them cannot be used, or there is no key.
        """
        settings = ClientSettings.of(
            url,
            api_key,
            timeout_s=timeout_s,
            attempt_timeout_s=attempt_timeout_s,
            retry=retry,
            context=ssl_context,
        )
        self._begin(AioCarrier(settings))

    def _begin(self, run: AioCarrier) -> None:
        self._run = run
        self.events = AsyncEvents(run)
        self.subscriptions = AsyncSubscriptions(run)
        self.deliveries = AsyncDeliveries(run)
        self.dead_letters = AsyncDeadLetters(run)
        self.jobs = AsyncJobs(run)
        self.organization = AsyncOwnOrganization(run)
        self.inboxes = AsyncInboxes(run)
        self.event_types = AsyncEventTypes(run)
        self.hooks = AsyncHooks(run)

    def with_timeout(self, timeout_s: float) -> "AsyncClient":
        """The same client, over the same connections, with another time for each call."""
        copy = object.__new__(type(self))
        copy._begin(self._run.with_timeout(timeout_s))  # noqa: SLF001 - its own kind
        return copy

    async def send(
        self,
        type: str,  # noqa: A002 - the field's name
        payload: Any = None,  # noqa: ANN401 - whatever JSON can say
        **fields: Unpack[requests.EventFields],
    ) -> Sent:
        """Send an event; when this returns it is stored durably.

        Args:
            type: 1 to 255 of letters, digits and ``_ . : / -``.
            payload: anything that becomes JSON, or ``msgspec.Raw`` for bytes that are JSON.
            fields: see :class:`NewEvent`.

        Raises:
            ApiError: it is not acceptable, or the service cannot take it at the moment.
            NoAnswer: nobody knows. Sent again with the same dedup_id it is stored once.
        """
        return await self._run(send_one(outgoing(NewEvent(type, payload, **fields))))

    async def send_many(self, events: Iterable[NewEvent] | AsyncIterable[NewEvent]) -> BatchReport:
        """Send any number of events, in batches of what the service takes at a time.

        Each is checked alone: what is not acceptable is in the report, and costs the others nothing.
        What is lost on the way is sent again under the same dedup_ids.

        Raises:
            SendInterrupted: a batch could not be sent; it says what became of those before, and which
                are left. The cause is what went wrong.
        """
        cutter = Cutter()
        left = _each(events)
        batch: Batch | None = None
        try:
            async for event in left:
                batch = cutter.add(event)
                if batch is not None:
                    await self._send_batch(cutter, batch)
            batch = cutter.rest()
            if batch is not None:
                await self._send_batch(cutter, batch)
        except ClientError as error:
            raise SendInterrupted(
                cutter.report(), [*cutter.unsent(), *[event async for event in left]]
            ) from error
        return cutter.report()

    async def _send_batch(self, cutter: Cutter, batch: Batch) -> None:
        try:
            cutter.done(await self._run(send_batch(batch)))
        except TooLarge as error:
            # The organization's burst may be less than a batch.
            if len(batch) == 1:
                cutter.done([refused(batch[0], error)])
                return
            middle = len(batch) // 2
            await self._send_batch(cutter, batch[:middle])
            await self._send_batch(cutter, batch[middle:])

    def inbox(self, name: str | None = None) -> AsyncInbox:
        """An inbox by name, or the one that every organization has."""
        return AsyncInbox(self._run, name)

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - whatever JSON can say
        *,
        query: Mapping[str, Any] | None = None,
        repeatable: bool = False,
    ) -> Any:  # noqa: ANN401 - whatever is answered
        """Any other call: the decoded answer, ``None`` for none.

        Args:
            method: of HTTP.
            path: from ``/api`` on.
            body: sent as JSON, if not ``None``.
            query: parameters by name; ``None`` is left out.
            repeatable: doing it twice comes to the same as once; ``GET`` always is.
        """
        call: Call[Any] = Call(
            method,
            path + query_of(query or {}),
            anything,
            None if body is None else encoded(body),
            repeatable=repeatable or method in {"GET", "HEAD"},
        )
        return await self._run(call)

    async def close(self) -> None:
        """Close the connections."""
        await self._run.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._run.settings.shown!r})"
