"""The receiver in a process of its own says how much has come without anybody asking the server."""

import socket

from tests.bench.test_receiver import ANSWER, webhook

from triggers_api.bench.sink import await_received, sink


def test_a_sink_counts_each_event_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, sink(listener) as received:
        assert received() == 0
        with socket.create_connection(listener.getsockname()) as connection:
            connection.settimeout(60)
            for event_id in ("evt_1", "evt_2", "evt_1"):
                connection.sendall(webhook(event_id))
                assert connection.recv(1000) == ANSWER
        await_received(received, 2, within_s=60)
        assert received() == 2


def test_nobody_waits_longer_than_they_said_for_what_does_not_come() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, sink(listener) as received:
        await_received(received, 1, within_s=0.01)
        assert received() == 0
