"""A stream of events over as many connections as it takes. No I/O."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from triggers_api.client import requests
from triggers_api.client.attempts import Attempts, Lost, Retry
from triggers_api.client.calls import Answer, Call, into
from triggers_api.client.errors import NoAnswer, UnexpectedAnswer
from triggers_api.client.models import Event, Page
from triggers_api.client.sse import Message, Messages

SILENCE_S: Final = 45.0
"""Three comments that did not come: the connection is dead, whatever it says itself."""

_RETRY: Final = Retry(first_delay_s=0.2, longest_delay_s=5.0)
_STREAM: Final[Call[None]] = Call("GET", "", lambda _: None, repeatable=True)


class Following:
    """Where a reader of the stream stands, and when it comes back."""

    silence_s = SILENCE_S

    def __init__(self, pattern: str | None, after: str | None) -> None:
        """Not connected yet.

        Args:
            pattern: of types.
            after: the event to begin behind; ``None``: now.
        """
        self.path = requests.stream_path(pattern)
        self.needs_anchor = after is None
        self._after = after
        self._failures = 0
        self._messages = Messages()
        self._read = into(Event)

    def newest(self) -> Call[Page[Event]]:
        """Asks for the last event, to begin behind it.

        A stream that is told no event begins with the next one, and one that breaks before that comes
        would not know what it missed.
        """
        return requests.list_events(1, {})(None)

    def anchored(self, newest: Sequence[Event]) -> None:
        """What was asked for; with no event at all there is nothing to begin behind."""
        self._after = newest[0].id if newest else None
        self.needs_anchor = False

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the request for the rest of the stream."""
        self._messages = Messages()
        headers = {"Accept": "text/event-stream"}
        if self._after is not None:
            headers["Last-Event-ID"] = self._after
        return headers

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events that end within a piece of the stream."""
        self._failures = 0
        for message in self._messages.feed(piece):
            yield self._event(message)

    def _event(self, message: Message) -> Event:
        event: Event = self._read(Answer(200, {}, message.data))
        self._after = message.id or event.id
        return event

    def after_end(self) -> float:
        """Seconds to wait when the service has ended it, or was not ready."""
        self._failures += 1
        return _RETRY.delay_s(self._failures, random.random())  # noqa: S311 - no secret

    def after_loss(self, lost: Lost) -> float:
        """Seconds to wait when the connection is lost.

        Raises:
            NoAnswer: there is no service there.
        """
        if lost.final:
            raise NoAnswer(str(lost), may_have_arrived=lost.sent) from None
        return self.after_end()

    def refused(self, answer: Answer) -> None:
        """The answer was no stream: returns where one may come later.

        Raises:
            ApiError: it will not.
            UnexpectedAnswer: what answers is not this service.
        """
        attempts = Attempts(
            _STREAM, Retry(), timeout_s=3600.0, attempt_timeout_s=1.0, clock=lambda: 0.0
        )
        if attempts.after_answer(answer) is None:
            raise UnexpectedAnswer(f"what answers is not this service: {answer.status}")
