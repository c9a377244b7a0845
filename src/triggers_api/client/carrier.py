"""Calls carried out in threads, and the lists that are made of them."""

import secrets
import time
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from triggers_api.client import requests
from triggers_api.client.attempts import Attempts, Lost
from triggers_api.client.calls import Call
from triggers_api.client.following import Following
from triggers_api.client.models import Page
from triggers_api.client.settings import ClientSettings
from triggers_api.client.sockets import Interrupt, Sockets, Stream

T = TypeVar("T")


class Interrupted(Exception):
    """Somebody else has ended it."""


class Carrier:
    """Carries calls out: attempts, pauses, and what comes of them."""

    def __init__(self, settings: ClientSettings, sockets: Sockets) -> None:
        self.settings = settings
        self._sockets = sockets

    def __call__(self, call: Call[T], interrupt: Interrupt | None = None) -> T:
        """The answer to a call.

        Raises:
            ClientError: there is none, or it is a refusal.
            Interrupted: ``interrupt`` came.
        """
        settings = self.settings
        request_id = secrets.token_hex(16)
        headers = settings.with_body({"X-Request-Id": request_id}, call.body)
        attempts = Attempts(
            call,
            settings.retry,
            timeout_s=settings.timeout_s,
            attempt_timeout_s=settings.attempt_timeout_s,
            request_id=request_id,
            clock=time.monotonic,
        )
        while True:
            try:
                answer = self._sockets.exchange(
                    call.method,
                    settings.prefix + call.path,
                    headers,
                    call.body,
                    timeout_s=attempts.timeout_s(),
                    interrupt=interrupt,
                )
            except Lost as lost:
                if interrupt is not None and interrupt.is_set:
                    raise Interrupted from None
                pause_s = attempts.after_loss(lost)
            else:
                again_s = attempts.after_answer(answer)
                if again_s is None:
                    return call.decode(answer)
                pause_s = again_s
            if interrupt is None:
                time.sleep(pause_s)
            elif interrupt.wait(pause_s):
                raise Interrupted

    def follow(self, following: Following, interrupt: Interrupt) -> Stream:
        """An answer that does not end.

        Raises:
            Lost: there is none.
        """
        settings = self.settings
        return self._sockets.stream(
            settings.prefix + following.path,
            {**settings.headers, **following.headers},
            timeout_s=settings.attempt_timeout_s,
            silence_s=following.silence_s,
            interrupt=interrupt,
        )

    def with_timeout(self, timeout_s: float) -> "Carrier":
        """The same over the same connections, with another time for each call."""
        settings = msgspec.structs.replace(self.settings, timeout_s=timeout_s)
        return Carrier(settings, self._sockets)

    def close(self) -> None:
        """Close the connections."""
        self._sockets.close()


class Listing(Generic[T]):
    """A list that is fetched page by page, as far as it is asked for."""

    def __init__(self, run: Carrier, fetch: requests.Fetch[T], cursor: str | None) -> None:
        self._run = run
        self._fetch = fetch
        self._cursor = cursor

    def page(self, cursor: str | None = None) -> Page[T]:
        """One page: the first one, or that of a cursor."""
        return self._run(self._fetch(cursor or self._cursor))

    def pages(self) -> Iterator[Page[T]]:
        """Page after page."""
        page = self.page()
        yield page
        while page.next_cursor is not None:
            page = self.page(page.next_cursor)
            yield page

    def first(self) -> T | None:
        """The first one, if there is any."""
        return next(iter(self), None)

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.data
