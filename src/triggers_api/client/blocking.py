"""The client for threads: :class:`Client`."""

import builtins
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack

from msgspec import UNSET

from triggers_api.client import requests
from triggers_api.client.attempts import DEFAULT_RETRY, Lost, Retry
from triggers_api.client.calls import Call, anything, encoded, query_of
from triggers_api.client.carrier import Carrier, Interrupted, Listing
from triggers_api.client.consuming import Inbox, Inboxes
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
from triggers_api.client.sockets import Interrupt, Sockets

T = TypeVar("T")


class Events:
    """Events that were accepted."""

    def __init__(self, run: Carrier) -> None:
        self._run = run

    def get(self, event_id: str) -> EventDetail:
        """An event with its deliveries and timeline."""
        return self._run(requests.get_event(event_id))

    def list(
        self,
        *,
        page_size: int = requests.PAGE_SIZE,
        cursor: str | None = None,
        **wanted: Unpack[requests.EventFilter],
    ) -> Listing[Event]:
        """Those for which all that is given holds, newest first; all of them if nothing is."""
        return Listing(self._run, requests.list_events(page_size, wanted), cursor)

    def stream(self, *, type: str | None = None, after: str | None = None) -> "EventStream":  # noqa: A002
        """Events as they come in, for as long as it is read; broken connections are made again.

        Args:
            type: a pattern of types.
            after: begin behind this event instead of now.
        """
        return EventStream(self._run, type, after)

    def explain(self, event_id: str) -> Explanation:
        """Why each subscription gets an event, or not."""
        return self._run(requests.explain_event(event_id))

    def replay(
        self, event_id: str, *, subscription_ids: Sequence[str] | None = None
    ) -> tuple[Delivery, ...]:
        """Deliver an event once more: to these subscriptions, or to all that match it now."""
        return self._run(requests.replay_event(event_id, subscription_ids))

    def cancel(self, event_id: str) -> EventDetail:
        """End one that is scheduled or queued: nobody gets it. Its dedup_id stays taken."""
        return self._run(requests.cancel_event(event_id))

    def delete(self, event_id: str) -> None:
        """Erase the payload, cancel what is pending, and free the dedup_id."""
        self._run(requests.delete_event(event_id))


class EventStream:
    """Events as they come in, from when the ``with`` block begins (or else the iteration) to its end."""

    def __init__(self, run: Carrier, pattern: str | None, after: str | None) -> None:
        self._run = run
        self._following = Following(pattern, after)
        self._interrupt = Interrupt()

    def __iter__(self) -> Iterator[Event]:
        following = self._following
        try:
            self._anchor()
            while not self._interrupt.is_set:
                try:
                    yield from self._connection()
                    pause_s = following.after_end()
                except Lost as lost:
                    pause_s = following.after_loss(lost)
                self._interrupt.wait(pause_s)
        except Interrupted:
            return

    def _anchor(self) -> None:
        if self._following.needs_anchor:
            newest = self._run(self._following.newest(), self._interrupt)
            self._following.anchored(newest.data)

    def _connection(self) -> Iterator[Event]:
        stream = self._run.follow(self._following, self._interrupt)
        try:
            if stream.status != 200:
                self._following.refused(stream.answer())
                return
            for piece in stream:
                yield from self._following.feed(piece)
        except Lost:
            if not self._interrupt.is_set:
                raise
        finally:
            self._interrupt.watch(None)
            stream.close()

    def close(self) -> None:
        """End it."""
        self._interrupt.set()

    def __enter__(self) -> Self:
        self._anchor()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Subscriptions:
    """Who gets which events."""

    def __init__(self, run: Carrier) -> None:
        self._run = run

    def create(
        self,
        url: str,
        event_types: Sequence[str] = ("*",),
        **settings: Unpack[requests.NewSubscription],
    ) -> Subscription:
        """Deliver every matching event from now on to a URL; this answer alone has the ``secret``."""
        return self._run(requests.create_subscription(url, event_types, settings))

    def list(
        self, *, page_size: int = requests.PAGE_SIZE, cursor: str | None = None
    ) -> Listing[Subscription]:
        """All of them, newest first."""
        return Listing(self._run, requests.list_subscriptions(page_size), cursor)

    def get(self, subscription_id: str) -> Subscription:
        """A subscription, without its secret."""
        return self._run(requests.get_subscription(subscription_id))

    def change(
        self, subscription_id: str, **change: Unpack[requests.SubscriptionChange]
    ) -> Subscription:
        """Change what is given; ``None`` puts a default back."""
        return self._run(requests.change_subscription(subscription_id, change))

    def delete(self, subscription_id: str) -> None:
        """End it, and cancel what is pending for it."""
        self._run(requests.delete_subscription(subscription_id))

    def pause(self, subscription_id: str) -> Subscription:
        """Let its events wait until it is resumed."""
        return self._run(requests.switch_subscription(subscription_id, "pause"))

    def resume(self, subscription_id: str) -> Subscription:
        """Send what waited; also brings back one that was disabled."""
        return self._run(requests.switch_subscription(subscription_id, "resume"))

    def rotate_secret(
        self,
        subscription_id: str,
        *,
        grace_s: float | None = None,
        signature: Literal["v1", "v1a"] | None = None,
    ) -> Subscription:
        """Replace the secret; the one before signs beside it for ``grace_s`` (a day)."""
        return self._run(requests.rotate_secret(subscription_id, grace_s, signature))

    def test(
        self,
        subscription_id: str,
        *,
        type: str | None = None,  # noqa: A002 - the field's name
        payload: Any = UNSET,  # noqa: ANN401 - whatever JSON can say
    ) -> Delivery:
        """Send it, and nobody else, a test event; what is not given is the service's own."""
        return self._run(requests.check_subscription(subscription_id, type, payload))

    def stats(
        self, subscription_id: str, *, since: datetime | None = None, until: datetime | None = None
    ) -> SubscriptionStats:
        """How its deliveries have fared, within the last day if nothing is given."""
        return self._run(requests.subscription_stats(subscription_id, since, until))


class Deliveries:
    """Events on their way to subscriptions."""

    def __init__(self, run: Carrier) -> None:
        self._run = run

    def list(
        self,
        *,
        page_size: int = requests.PAGE_SIZE,
        cursor: str | None = None,
        **wanted: Unpack[requests.DeliveryFilter],
    ) -> Listing[Delivery]:
        """Those for which all that is given holds, newest first."""
        return Listing(self._run, requests.list_deliveries(page_size, wanted), cursor)

    def get(self, delivery_id: str) -> DeliveryDetail:
        """A delivery with every attempt."""
        return self._run(requests.get_delivery(delivery_id))

    def retry(self, delivery_id: str) -> DeliveryDetail:
        """Open a dead, skipped or cancelled one again, now."""
        return self._run(requests.act_on_delivery(delivery_id, "retry"))

    def cancel(self, delivery_id: str) -> DeliveryDetail:
        """End one that is not finished."""
        return self._run(requests.act_on_delivery(delivery_id, "cancel"))


class DeadLetters:
    """Deliveries whose attempts are used up."""

    def __init__(self, run: Carrier) -> None:
        self._run = run

    def list(
        self,
        *,
        page_size: int = requests.PAGE_SIZE,
        cursor: str | None = None,
        **wanted: Unpack[requests.DeadLetterFilter],
    ) -> Listing[Delivery]:
        """Those for which all that is given holds, newest first."""
        return Listing(self._run, requests.list_dead_letters(page_size, wanted), cursor)

    def replay(
        self,
        *,
        rate: float | None = None,
        dry_run: bool = False,
        **wanted: Unpack[requests.DeadLetterFilter],
    ) -> Job:
        """Deliver them once more, as a job; at most ``rate`` a second."""
        return self._run(requests.replay_dead_letters(wanted, rate, dry_run=dry_run))

    def purge(
        self, *, everything: bool = False, **wanted: Unpack[requests.DeadLetterFilter]
    ) -> Job:
        """Delete them with their attempts, as a job; all of them only where ``everything`` says so."""
        return self._run(requests.purge_dead_letters(wanted, everything=everything))


class Jobs:
    """Work on many deliveries."""

    def __init__(self, run: Carrier) -> None:
        self._run = run

    def replay(
        self,
        *,
        rate: float | None = None,
        dry_run: bool = False,
        **wanted: Unpack[requests.ReplayFilter],
    ) -> Job:
        """Deliver once more what all that is given holds for; at most ``rate`` a second."""
        return self._run(requests.create_replay(wanted, rate, dry_run=dry_run))

    def list(
        self, *, page_size: int = requests.PAGE_SIZE, cursor: str | None = None
    ) -> Listing[Job]:
        """All of them, newest first."""
        return Listing(self._run, requests.list_jobs(page_size), cursor)

    def get(self, job_id: str) -> Job:
        """A job and how far it has come."""
        return self._run(requests.get_job(job_id))

    def cancel(self, job_id: str) -> Job:
        """Stop it where it is."""
        return self._run(requests.cancel_job(job_id))

    def wait(self, job_id: str, *, timeout_s: float, poll_s: float = 0.5) -> Job:
        """The job when it is finished.

        Raises:
            TimeoutError: it is not, after so long.
        """
        deadline = time.monotonic() + timeout_s
        while not (job := self.get(job_id)).finished:
            if time.monotonic() + poll_s > deadline:
                raise TimeoutError(f"the job is {job.status} after {timeout_s:g} s")
            time.sleep(poll_s)
        return job


class EventTypes:
    """What the organization says of the events that it sends."""

    def __init__(self, run: Carrier) -> None:
        self._run = run

    def save(self, name: str, **settings: Unpack[requests.EventTypeSettings]) -> EventType:
        """Create it, or replace it as a whole."""
        return self._run(requests.save_event_type(name, settings))

    def list(
        self, *, page_size: int = requests.PAGE_SIZE, cursor: str | None = None
    ) -> Listing[EventType]:
        """By name."""
        return Listing(self._run, requests.list_event_types(page_size), cursor)

    def get(self, name: str) -> EventType:
        """With its schema and example."""
        return self._run(requests.get_event_type(name))

    def delete(self, name: str) -> None:
        """Its events are taken as they come from then on."""
        self._run(requests.delete_event_type(name))


class Hooks:
    """Subscriptions as no-code tools make them."""

    def __init__(self, run: Carrier) -> None:
        self._run = run

    def create(self, target_url: str, event: str) -> Hook:
        """Every matching event from now on goes there, in the flat format; once, however often asked."""
        return self._run(requests.create_hook(target_url, event))

    def list(
        self,
        *,
        target_url: str | None = None,
        page_size: int = requests.PAGE_SIZE,
        cursor: str | None = None,
    ) -> Listing[Hook]:
        """Those that are alive, newest first; with ``target_url`` those that lead there."""
        return Listing(self._run, requests.list_hooks(page_size, target_url), cursor)

    def delete(self, hook_id: str) -> None:
        """End it; ending it again is fine."""
        self._run(requests.delete_hook(hook_id))

    def samples(self, event_type: str, *, limit: int | None = None) -> "builtins.list[Any]":
        """The newest events of a type, each as a hook is sent it; a made-up one where there is none."""
        return self._run(requests.hook_samples(event_type, limit))


class OwnOrganization:
    """The organization whose key is used."""

    def __init__(self, run: Carrier) -> None:
        self._run = run

    def get(self) -> Organization:
        """Its name, limits and webhook_url."""
        return self._run(requests.get_organization())

    def change(self, **change: Any) -> Organization:  # noqa: ANN401 - name, webhook_url
        """Change ``name`` or ``webhook_url``; ``None`` ends the latter."""
        return self._run(requests.change_organization(change))


class Client:
    """Sends events, and asks for everything that is known of them. Any thread may use it.

    ::

        with Client("https://events.example.com", api_key) as client:
            client.send("order.created", {"id": 42}, key="customer-7")

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
        self._begin(Carrier(settings, Sockets(settings.base, settings.context)))

    def _begin(self, run: Carrier) -> None:
        self._run = run
        self.events = Events(run)
        self.subscriptions = Subscriptions(run)
        self.deliveries = Deliveries(run)
        self.dead_letters = DeadLetters(run)
        self.jobs = Jobs(run)
        self.organization = OwnOrganization(run)
        self.inboxes = Inboxes(run)
        self.event_types = EventTypes(run)
        self.hooks = Hooks(run)

    def with_timeout(self, timeout_s: float) -> "Client":
        """The same client, over the same connections, with another time for each call."""
        copy = object.__new__(type(self))
        copy._begin(self._run.with_timeout(timeout_s))  # noqa: SLF001 - its own kind
        return copy

    def send(
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
        return self._run(send_one(outgoing(NewEvent(type, payload, **fields))))

    def send_many(self, events: Iterable[NewEvent]) -> BatchReport:
        """Send any number of events, in batches of what the service takes at a time.

        Each is checked alone: what is not acceptable is in the report, and costs the others nothing.
        What is lost on the way is sent again under the same dedup_ids.

        Raises:
            SendInterrupted: a batch could not be sent; it says what became of those before, and which
                are left. The cause is what went wrong.
        """
        cutter = Cutter()
        left = iter(events)
        batch: Batch | None = None
        try:
            for event in left:
                batch = cutter.add(event)
                if batch is not None:
                    self._send_batch(cutter, batch)
            batch = cutter.rest()
            if batch is not None:
                self._send_batch(cutter, batch)
        except ClientError as error:
            raise SendInterrupted(cutter.report(), [*cutter.unsent(), *left]) from error
        return cutter.report()

    def _send_batch(self, cutter: Cutter, batch: Batch) -> None:
        try:
            cutter.done(self._run(send_batch(batch)))
        except TooLarge as error:
            # The organization's burst may be less than a batch.
            if len(batch) == 1:
                cutter.done([refused(batch[0], error)])
                return
            middle = len(batch) // 2
            self._send_batch(cutter, batch[:middle])
            self._send_batch(cutter, batch[middle:])

    def inbox(self, name: str | None = None) -> Inbox:
        """An inbox by name, or the one that every organization has."""
        return Inbox(self._run, name)

    def request(
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
        return self._run(call)

    def close(self) -> None:
        """Close the connections."""
        self._run.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._run.settings.shown!r})"
