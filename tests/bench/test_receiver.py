"""The receiver of webhooks, fed by hand."""

import selectors
import socket
from collections.abc import Iterator

import pytest

from triggers_api.bench.receiver import BROKEN, Receiver

ANSWER = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"


def webhook(event_id: str, body: bytes = b'{"type":"t"}') -> bytes:
    head = f"POST / HTTP/1.1\r\nwebhook-id: {event_id}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Endpoint:
    """A receiver, its loop, and a connection to it."""

    def __init__(self, clock: Clock, *, samples: int = 10) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self.receiver = Receiver(self._listener, self._selector, clock=clock, samples=samples)
        self.client = socket.create_connection(self._listener.getsockname())
        self.client.settimeout(5)
        self.turn()

    def turn(self) -> None:
        for key, events in self._selector.select(5):
            key.data(events)

    def close(self) -> None:
        self.client.close()
        self.turn()
        self._listener.close()
        self._selector.close()


@pytest.fixture
def endpoint(clock: Clock) -> Iterator[Endpoint]:
    endpoint = Endpoint(clock)
    yield endpoint
    endpoint.close()


def test_a_webhook_is_noted_with_its_time_and_answered(endpoint: Endpoint, clock: Clock) -> None:
    clock.now = 123.0
    endpoint.client.sendall(webhook("evt_1"))
    endpoint.turn()
    assert endpoint.receiver.arrivals == {"evt_1": 123.0}
    assert endpoint.receiver.last_at == 123.0
    assert endpoint.client.recv(1000) == ANSWER


def test_it_arrives_when_its_last_byte_does(endpoint: Endpoint, clock: Clock) -> None:
    content = webhook("evt_1")
    for piece in (content[:10], content[10:50], content[50:-1]):
        endpoint.client.sendall(piece)
        endpoint.turn()
    assert endpoint.receiver.arrivals == {}
    clock.now = 124.0
    endpoint.client.sendall(content[-1:])
    endpoint.turn()
    assert endpoint.receiver.arrivals == {"evt_1": 124.0}


def test_several_at_once_are_each_answered(endpoint: Endpoint) -> None:
    endpoint.client.sendall(webhook("evt_1") + webhook("evt_2", b"") + webhook("evt_3"))
    endpoint.turn()
    assert list(endpoint.receiver.arrivals) == ["evt_1", "evt_2", "evt_3"]
    assert endpoint.client.recv(len(ANSWER) * 3, socket.MSG_WAITALL) == ANSWER * 3


def test_an_event_that_comes_again_keeps_its_first_time(endpoint: Endpoint, clock: Clock) -> None:
    endpoint.client.sendall(webhook("evt_1"))
    endpoint.turn()
    clock.now = 200.0
    endpoint.client.sendall(webhook("evt_1"))
    endpoint.turn()
    assert endpoint.receiver.arrivals == {"evt_1": 100.0}
    assert endpoint.receiver.repeats == 1


def test_the_first_ones_are_kept_whole(clock: Clock) -> None:
    endpoint = Endpoint(clock, samples=2)
    for number in range(3):
        endpoint.client.sendall(webhook(f"evt_{number}", b"%d" % number))
        endpoint.turn()
    assert [kept.body for kept in endpoint.receiver.kept] == [b"0", b"1"]
    assert endpoint.receiver.kept[0].headers["webhook-id"] == "evt_0"
    endpoint.close()


def test_where_it_is_broken_it_answers_500_and_notes_nothing(endpoint: Endpoint) -> None:
    endpoint.client.sendall(webhook("evt_1").replace(b"POST / ", f"POST {BROKEN}7 ".encode()))
    endpoint.turn()
    assert endpoint.client.recv(1000).startswith(b"HTTP/1.1 500 ")
    assert endpoint.receiver.arrivals == {}
    endpoint.client.sendall(webhook("evt_2"))
    endpoint.turn()
    assert endpoint.client.recv(1000) == ANSWER
    assert endpoint.receiver.arrivals == {"evt_2": 100.0}
