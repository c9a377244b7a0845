"""The service with the ingest buffer before its database, and what lies in Redis."""

from __future__ import annotations

from typing import Any

import pytest
from tests.conftest import BUFFERED, Enter, MakeService, Run, wait_for_redis
from tests.servers.redis import RedisServer

from triggers_api.testing import ADMIN_KEY, Answer, FrozenClock, Service


@pytest.fixture(scope="module")
def engine() -> str:
    return BUFFERED


@pytest.fixture(autouse=True)
def reached_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_redis(monkeypatch)


class Buffered:
    """A service with time standing still, and its Redis."""

    def __init__(self, service: Service, run: Run, server: RedisServer) -> None:
        self.service = service
        self.run = run
        self.server = server
        self.prefix = service.settings.redis_prefix
        assert service.app.buffer is not None
        self.buffer = service.app.buffer

    def redis(self, command: str, key: str, *arguments: str | bytes | int) -> Any:  # noqa: ANN401
        """A command on one of the buffer's keys."""
        return self.server.call(command, f"{self.prefix}:{key}", *arguments)

    @property
    def length(self) -> int:
        found: int = self.redis("XLEN", "events")
        return found

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:  # noqa: ANN401
        return self.run(self.service.call(method, path, body, **options))

    def send(self, payload: Any = 1, status: int = 202, **fields: Any) -> Any:  # noqa: ANN401 - JSON
        """The answer to a new event."""
        answer = self.run(self.service.send(fields.pop("type", "order.created"), payload, **fields))
        assert answer.status == status, answer
        return answer.json

    def get(self, path: str, **options: Any) -> Any:  # noqa: ANN401 - JSON
        answer = self.call("GET", path, **options)
        assert answer.status == 200, answer
        return answer.json

    def event(self, event_id: str) -> Any:  # noqa: ANN401 - JSON
        return self.get(f"/api/events/{event_id}")

    def listed(self) -> list[str]:
        return [each["id"] for each in self.get("/api/events?limit=1000&order=asc")["data"]]

    def turn(self, **switches: Any) -> None:  # noqa: ANN401 - JSON
        answer = self.call("PATCH", "/api/admin/controls", switches, key=ADMIN_KEY)
        assert answer.status == 200, answer

    def land(self) -> int:
        """Have the consumer land everything; how many entries it let go of."""
        landed = 0
        while True:
            self.run(self.buffer.consumer.run_once())
            if not self.buffer.consumer.landed:
                return landed
            landed += self.buffer.consumer.landed

    def look(self) -> Any:  # noqa: ANN401 - JSON
        return self.get("/api/health/detailed")["buffer"]

    def metric(self, name: str, **labels: str) -> float:
        value = self.service.app.metrics.registry.get_sample_value(name, labels)
        return 0.0 if value is None else value

    def drain(self) -> None:
        self.run(self.service.drain())


@pytest.fixture
def buffered(service: Service, run: Run, redis: RedisServer) -> Buffered:
    return Buffered(service, run, redis)


class MakeBuffered:
    """Makes services that share a Redis of their own, which may be mistreated."""

    def __init__(
        self, enter: Enter, make_service: MakeService, run: Run, server: RedisServer
    ) -> None:
        self._enter = enter
        self._make = make_service
        self._run = run
        self.server = server
        self.clock = FrozenClock()

    def __call__(self, **settings: Any) -> Buffered:  # noqa: ANN401 - of Service
        service = self._enter(
            self._make(**{"clock": self.clock, "redis_url": self.server.url()} | settings)
        )
        return Buffered(service, self._run, self.server)


@pytest.fixture
def on_own_redis(
    enter: Enter, make_service: MakeService, run: Run, own_redis: RedisServer
) -> MakeBuffered:
    return MakeBuffered(enter, make_service, run, own_redis)


@pytest.fixture
def make_buffered(
    enter: Enter, make_service: MakeService, run: Run, redis: RedisServer
) -> MakeBuffered:
    """Services on the Redis that all tests share, each with its own keys unless told otherwise."""
    return MakeBuffered(enter, make_service, run, redis)
