"""The programs in ``examples/python``, run as a reader would, and ended as machines are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from tests.docs.pages import ROOT
from tests.servers.ports import free_ports

from triggers_api.testing import LocalService

EXAMPLES: Final = ROOT / "examples" / "python"
ORDERS: Final = 12


class Program:
    """A program of the example that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def says(self, first: str) -> str:
        """The next line that begins like this."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(first):
                return line.strip()
        raise AssertionError(f"it ended without {first!r}")

    def numbers(self, first: str, count: int) -> list[int]:
        """The numbers in so many lines that begin like this."""
        return [int(self.says(first).split()[1]) for _ in range(count)]


class Shop:
    """A service in real time, and the folder in which the example is run."""

    def __init__(self, service: LocalService, folder: Path, stack: ExitStack) -> None:
        self.service = service
        self.folder = folder
        self._stack = stack
        (port,) = free_ports(1)
        self._environment = os.environ | {
            "TRIGGERS_URL": service.url,
            "TRIGGERS_API_KEY": service.api_key,
            "RECEIVER_PORT": str(port),
        }

    def start(self, name: str, *arguments: str, **environment: str) -> Program:
        """One of the programs."""
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
            cwd=self.folder,
            env=self._environment | environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        return Program(process)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        service = stack.enter_context(LocalService(tmp_path, real_time=True))
        yield Shop(service, tmp_path, stack)


def test_orders_are_received_once_by_webhook_and_packed_once_from_the_inbox(shop: Shop) -> None:
    receiver = shop.start("receiver.py")
    receiver.says("ready")
    consumer = shop.start("consumer.py")
    consumer.says("ready")
    producer = shop.start("producer.py", str(ORDERS))
    assert producer.numbers("sent", ORDERS) == [*range(ORDERS)]
    assert sorted(receiver.numbers("received", ORDERS)) == [*range(ORDERS)]
    assert sorted(consumer.numbers("packed", ORDERS)) == [*range(ORDERS)]
    consumer.process.send_signal(signal.SIGTERM)
    consumer.says("ended")
    assert consumer.process.wait(20) == 0
    state = shop.service.client.inbox("packing").state()
    assert (state.unacked, state.leased) == (0, 0)


def test_what_a_forger_sends_is_refused(shop: Shop) -> None:
    (shop.folder / "webhook-secret").write_text("whsec_" + "b2xk" * 8)
    receiver = shop.start("receiver.py")
    receiver.says("ready")
    port = shop._environment["RECEIVER_PORT"]
    shop.service.client.subscriptions.create(f"http://127.0.0.1:{port}/orders", ["order.*"])
    shop.service.client.send("order.placed", {"id": 1})
    assert receiver.says("refused") == "refused: not signed with this secret"


def test_what_cannot_be_sent_is_kept_and_sent_the_next_time(shop: Shop) -> None:
    (nowhere,) = free_ports(1)
    away = shop.start("producer.py", "1", TRIGGERS_URL=f"http://127.0.0.1:{nowhere}")
    away.says("kept")
    assert away.process.wait(20) == 0
    back = shop.start("producer.py", "2")
    assert back.says("sent") == "sent 1 and 0 were there already"
    assert back.process.wait(20) == 0
    assert len([*shop.service.client.events.list(type="order.placed")]) == 2
