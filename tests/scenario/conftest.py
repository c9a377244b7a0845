"""Short ways of asking the service, for stories that are told from outside, on every engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from tests.conftest import Run, on_every_engine

from triggers_api.testing import ADMIN_KEY, Service

ABOUT_INGEST: Final = {"test_delivery", "test_order", "test_restart", "test_switches"}
"""With the ingest buffer in every run; the others with the long tests."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = metafunc.module.__name__.rpartition(".")[2]
    on_every_engine(metafunc, buffered=name in ABOUT_INGEST)


class Ask:
    """Asks the API and expects to be answered."""

    def __init__(self, service: Service, run: Run) -> None:
        self.service = service
        self.run = run

    def get(self, path: str, **options: Any) -> Any:  # noqa: ANN401 - JSON
        answer = self.run(self.service.call("GET", path, **options))
        assert answer.status == 200, answer
        return answer.json

    def event(self, event_type: str = "order.created", payload: Any = 1, **fields: Any) -> str:  # noqa: ANN401
        """The id of a new event."""
        answer = self.run(self.service.send(event_type, payload, **fields))
        assert answer.status in {201, 202}, answer
        event_id: str = answer.json["id"]
        return event_id

    def status(self, event_id: str) -> str:
        status: str = self.get(f"/api/events/{event_id}")["status"]
        return status

    def deliveries(self, event_id: str) -> list[dict[str, Any]]:
        """An event's deliveries, oldest first, each with its attempts."""
        found = self.get(f"/api/deliveries?event_id={event_id}&limit=1000")["data"]
        return [self.get(f"/api/deliveries/{each['id']}") for each in reversed(found)]

    def delivery(self, event_id: str) -> dict[str, Any]:
        """An event's only delivery."""
        (found,) = self.deliveries(event_id)
        return found

    def subscription(self, subscription_id: str) -> Any:  # noqa: ANN401 - JSON
        return self.get(f"/api/subscriptions/{subscription_id}")

    def do(self, method: str, path: str, body: Any = None, status: int | None = None) -> Any:  # noqa: ANN401
        answer = self.run(self.service.call(method, path, body))
        assert answer.status == status if status else answer.status < 300, answer
        return answer.json if answer.body else None

    def turn(self, **switches: Any) -> None:  # noqa: ANN401 - JSON
        answer = self.run(
            self.service.call("PATCH", "/api/admin/controls", switches, key=ADMIN_KEY)
        )
        assert answer.status == 200, answer

    def books(self) -> Any:  # noqa: ANN401 - JSON
        """The books, which balance."""
        found = self.get("/api/admin/verify", key=ADMIN_KEY)
        assert found["ok"]
        return found["organizations"][0]

    def drain(self) -> None:
        self.run(self.service.drain())


Asking = Callable[[Service], Ask]


@pytest.fixture
def asking(run: Run) -> Asking:
    """For services that the test enters itself."""
    return lambda service: Ask(service, run)


@pytest.fixture
def ask(service: Service, run: Run) -> Ask:
    return Ask(service, run)
