"""What a supervisor such as systemd is told."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import LONGEST_S, Serve, Serving
from tests.conftest import Run

from triggers_api.cli.supervisor import Supervisor


@pytest.fixture
def notices(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of somebody who wants to hear of a process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notices"))
        listening.settimeout(LONGEST_S)
        yield listening


def heard(notices: socket.socket) -> dict[str, str]:
    """The next notice, as its assignments."""
    return dict(line.split("=", 1) for line in notices.recv(4096).decode().splitlines())


def started(serve: Serve, notices: socket.socket, **environ: str) -> Serving:
    return serve(NOTIFY_SOCKET=str(notices.getsockname()), **environ)


def test_it_is_told_when_requests_are_served_and_when_the_end_begins(
    serve: Serve, notices: socket.socket
) -> None:
    serving = started(serve, notices, TRIGGERS_SHUTDOWN_GRACE_S="7")
    ready = heard(notices)
    assert ready == {"READY": "1", "STATUS": f"serving {serving.url}, all"}
    assert serving.call("GET", "/livez")[0] == 200
    serving.send(signal.SIGTERM)
    ending = heard(notices)
    assert ending["STOPPING"] == "1"
    assert int(ending["EXTEND_TIMEOUT_USEC"]) == (2 * 7 + 15) * 1_000_000
    assert serving.wait() == 0


def test_a_watchdog_hears_that_the_process_is_alive_until_the_end_begins(
    serve: Serve, notices: socket.socket
) -> None:
    serving = started(serve, notices, WATCHDOG_USEC="300000")
    assert "READY" in heard(notices)
    assert [heard(notices) for _ in range(3)] == [{"WATCHDOG": "1"}] * 3
    serving.send(signal.SIGTERM)
    while (notice := heard(notices)) == {"WATCHDOG": "1"}:
        pass
    assert "STOPPING" in notice
    assert serving.wait() == 0


def test_the_watchdog_of_another_process_is_left_to_it() -> None:
    given = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    assert Supervisor.of(given, pid=1)._watchdog_s == 0.001
    assert Supervisor.of(given, pid=2)._watchdog_s is None
    assert Supervisor.of({"WATCHDOG_USEC": "1000"}, pid=1)._watchdog_s is None


def test_an_event_loop_that_stands_still_is_silent(run: Run, notices: socket.socket) -> None:
    async def main() -> None:
        supervisor = Supervisor(str(notices.getsockname()), watchdog_s=0.003)
        async with supervisor.watching():
            await asyncio.sleep(0)
            assert heard(notices) == {"WATCHDOG": "1"}
            notices.settimeout(0.05)  # nothing else runs in this loop meanwhile
            with pytest.raises(TimeoutError):
                heard(notices)

    run(main())


def test_one_that_is_gone_or_nobody_is_no_reason_to_fail(tmp_path: Path) -> None:
    Supervisor(str(tmp_path / "nobody")).ready("serving")
    Supervisor(None).ready("serving")


def test_an_abstract_socket_is_reached_as_well() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(b"\0triggers-test-%d" % id(listening))
        listening.settimeout(LONGEST_S)
        name: bytes = listening.getsockname()
        Supervisor("@" + name[1:].decode()).say("READY=1")
        assert heard(listening) == {"READY": "1"}
