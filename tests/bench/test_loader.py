"""The raw loader against a server that does what the test says."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import msgspec
import pytest

from triggers_api.bench.errors import RunFailed
from triggers_api.bench.http1 import event_requests, payloads, scan_request
from triggers_api.bench.loader import Load, Loader, Plan, doubles

EVENT_ID = "evt_%032x"


def accepted(number: int) -> bytes:
    body = b'{"id":"%b","type":"t"}' % (EVENT_ID % number).encode()
    return b"HTTP/1.1 202 Accepted\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


class Event(msgspec.Struct):
    type: str
    dedup_id: str | None = None


class Script:
    """Accepts every event, each dedup_id once, like the service; answers in one piece."""

    def __init__(self) -> None:
        self.count = 0
        self.first: dict[str, int] = {}
        self.lock = threading.Lock()

    def answer(self, body: bytes) -> list[bytes]:
        event = msgspec.json.decode(body, type=Event)
        with self.lock:
            self.count += 1
            number = first = self.count
            if event.dedup_id is not None:
                first = self.first.setdefault(event.dedup_id, number)
        answer = accepted(first)
        return [answer if first == number else answer.replace(b"202 Accepted", b"200 OK")]


class InPieces(Script):
    def answer(self, body: bytes) -> list[bytes]:
        (whole,) = super().answer(body)
        return [whole[:5], whole[5:40], whole[40:-1], whole[-1:]]


class Refusing(Script):
    def answer(self, body: bytes) -> list[bytes]:
        (whole,) = super().answer(body)
        if self.count % 2:
            return [b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"]
        return [whole]


class HangingUp(Script):
    def answer(self, body: bytes) -> list[bytes]:
        (whole,) = super().answer(body)
        # Nothing is sent, and the connection ends: b"" stands for that.
        return [b""] if self.count == 3 else [whole]


@contextmanager
def serving(script: Script) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection, script), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def serve(connection: socket.socket, script: Script) -> None:
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rest = b""
        while data := connection.recv(65536):
            rest += data
            while (request := scan_request(rest)) is not None:
                body, rest = rest[request.body : request.end], rest[request.end :]
                for piece in script.answer(body):
                    if not piece:
                        return
                    connection.sendall(piece)


def load(
    script: Script,
    *,
    events: int | None = 50,
    connections: int = 4,
    seconds: float | None = None,
    rate: float | None = None,
    duplicates: float = 0.0,
    payload_bytes: int = 32,
) -> Load:
    with serving(script) as port:
        plan = Plan(
            host="127.0.0.1",
            port=port,
            requests=event_requests(
                host="x",
                path="/api/events",
                key="k",
                event_type="t",
                payloads=payloads(payload_bytes, count=3, seed=1),
                dedup=duplicates > 0,
            ),
            connections=connections,
            seed=7,
            events=events,
            seconds=seconds,
            rate=rate,
            dedup=duplicates > 0,
            duplicates=duplicates,
        )
        with closing(Loader(plan)) as loader:
            loader.run(lambda _: None)
            return loader.result()


@pytest.mark.parametrize("connections", [1, 4, 60])
def test_exactly_so_many_events_are_sent_and_every_answer_is_counted(connections: int) -> None:
    script = Script()
    result = load(script, events=50, connections=connections)
    assert script.count == 50
    assert result.statuses == {202: 50}
    assert (result.accepted, result.answers, result.unique_ids) == (50, 50, 50)
    assert sorted(result.sampled_ids) == [EVENT_ID % number for number in range(1, 51)]
    assert len(doubles(result.latencies)) == 50
    assert all(0 < latency < 10 for latency in doubles(result.latencies))


def test_answers_that_come_in_pieces_are_put_together() -> None:
    result = load(InPieces(), events=20)
    assert result.statuses == {202: 20}
    assert result.unique_ids == 20


def test_a_request_that_does_not_fit_into_the_socket_is_sent_bit_by_bit() -> None:
    result = load(Script(), events=4, connections=2, payload_bytes=8 << 20)
    assert result.statuses == {202: 4}


def test_refusals_are_counted_by_status_and_are_not_among_the_latencies() -> None:
    result = load(Refusing(), events=40, connections=1)
    assert result.statuses == {202: 20, 429: 20}
    assert result.accepted == 20
    assert len(doubles(result.latencies)) == 20


def test_a_connection_that_ends_before_the_answer_is_counted_and_replaced() -> None:
    result = load(HangingUp(), events=10, connections=1)
    assert result.lost == 1
    assert result.statuses == {202: 9}


def test_duplicates_repeat_an_earlier_dedup_id() -> None:
    script = Script()
    result = load(script, events=400, duplicates=0.3)
    assert result.statuses == {202: len(script.first), 200: 400 - len(script.first)}
    assert 60 < result.duplicates < 180
    assert result.wrong_duplicates == 0


def test_a_duplicate_that_names_another_event_is_noticed() -> None:
    class Wrong(Script):
        def answer(self, body: bytes) -> list[bytes]:
            (whole,) = super().answer(body)
            return [whole if b"202" in whole else accepted(999).replace(b"202", b"200")]

    result = load(Wrong(), events=100, connections=1, duplicates=0.3)
    assert result.wrong_duplicates == result.duplicates > 0


def test_an_open_loop_sends_what_is_due_within_its_time() -> None:
    result = load(Script(), events=None, seconds=0.2, rate=200.0)
    assert result.answers == 40
    delays = doubles(result.delays)
    assert len(delays) == 40
    assert min(delays) >= 0


def test_the_latency_of_an_open_loop_counts_from_when_the_event_was_due() -> None:
    class OneIsSlow(Script):
        def answer(self, body: bytes) -> list[bytes]:
            answer = super().answer(body)
            if self.count == 1:
                threading.Event().wait(0.2)
            return answer

    # The server stands still for 0.2 s. On one connection the events of that time wait, too, and a
    # loader that counted from when it could send them at last would not see that.
    result = load(OneIsSlow(), events=100, connections=1, rate=500.0)
    waited = [latency for latency in doubles(result.latencies) if latency > 0.05]
    assert len(waited) > 50


def test_a_server_that_cannot_be_reached_is_a_failure() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        port = silent.getsockname()[1]
        plan = Plan(host="127.0.0.1", port=port, requests=[], connections=1, seed=1, events=1)
        with pytest.raises(RunFailed, match="no connection"):
            Loader(plan)


class Delivering(Script):
    """Sends a webhook for every event that it accepted, but for one in three."""

    def __init__(self, receiver: tuple[str, int]) -> None:
        super().__init__()
        self.webhooks = socket.create_connection(receiver)

    def answer(self, body: bytes) -> list[bytes]:
        answer = super().answer(body)
        if b"not-for-all" not in body:
            event_id = EVENT_ID % self.count
            self.webhooks.sendall(
                f"POST / HTTP/1.1\r\nwebhook-id: {event_id}\r\ncontent-length: 0\r\n\r\n".encode()
            )
        return answer


def test_webhooks_that_are_not_awaited_are_neither_waited_for_nor_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        script = Delivering(listener.getsockname())
        requests = [
            part
            for event_type in ("a", "b", "not-for-all")
            for part in event_requests(
                host="x",
                path="/api/events",
                key="k",
                event_type=event_type,
                payloads=[b"1"],
                dedup=False,
            )
        ]
        with serving(script) as port:
            plan = Plan(
                host="127.0.0.1",
                port=port,
                requests=requests,
                connections=1,
                seed=7,
                events=30,
                webhooks=0,
                listener=listener.detach(),
                not_awaited=frozenset({1, 2}),
            )
            with closing(script.webhooks), closing(Loader(plan)) as loader:
                loader.run(lambda _: None)
                result = loader.result()
    assert (result.accepted, result.awaited) == (30, 10)
    assert result.arrivals is not None
    assert (result.arrivals.unique, result.arrivals.strangers) == (10, 0)
    assert len(doubles(result.arrivals.latencies)) == 10
