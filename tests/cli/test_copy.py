"""``triggers copy``: from the file that was served to a database, and served from there."""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import apsw
import pytest
from tests.cli.conftest import (
    LONGEST_S,
    TRIGGERS,
    Ended,
    Endpoint,
    Serve,
    environment,
    keys_of,
    triggers,
    with_password,
)
from tests.migrations.conftest import until

FILE: Final = "sqlite:///triggers.db"


def copy(folder: Path, url: str, *arguments: str, source: str = FILE, **environ: str) -> Ended:
    return triggers("copy", "--from", source, "--to", url, *arguments, folder=folder, **environ)


def test_what_was_served_from_the_file_is_served_from_the_database(
    server_url: str, serve: Serve, tmp_path: Path
) -> None:
    loopback = {"TRIGGERS_ALLOW_CIDRS": "127.0.0.0/8"}
    with Endpoint() as endpoint:
        before = serve(**loopback)
        key = keys_of(before)["API key"]
        body = {"url": endpoint.url, "event_types": ["order.*"], "enabled": True}
        assert before.call("POST", "/api/subscriptions", key, body)[0] == 201
        assert before.call("PATCH", "/api/admin/controls", keys_of(before)["admin key"],
                           {"delivery": "paused"})[0] == 200  # fmt: skip
        events = [
            before.call("POST", "/api/events", key, {"type": "order.created", "payload": n})[1][
                "id"
            ]
            for n in range(5)
        ]
        assert before.end() == 0
        assert endpoint.ids == []

        ended = copy(tmp_path, with_password(server_url, "CANARY"))
        assert (ended.code, ended.err) == (0, "")
        assert re.search(r"^events +5 +5$", ended.out, re.MULTILINE)
        assert re.search(
            r"^org_[0-9a-f]{32}: 5 events, \d+ deliveries: equal$", ended.out, re.MULTILINE
        )
        assert re.search(r"^\d+ rows in [\d.]+ s, [\d,]+ a second$", ended.out, re.MULTILINE)
        shown = with_password(server_url, "***")
        assert f"Now start the service with TRIGGERS_DATABASE_URL={shown}" in ended.out
        assert "CANARY" not in ended.out

        after = serve(TRIGGERS_DATABASE_URL=server_url, **loopback)
        assert keys_of(after) == {}
        assert after.call("GET", f"/api/events/{events[0]}", key)[0] == 200
        assert after.call("PATCH", "/api/admin/controls", keys_of(before)["admin key"],
                          {"delivery": "running"})[0] == 200  # fmt: skip
        until(lambda: sorted(endpoint.ids) == sorted(events), "each was delivered, once")
        assert after.end() == 0


def test_the_database_may_come_from_the_environment(
    server_url: str, serve: Serve, tmp_path: Path
) -> None:
    assert serve().end() == 0
    ended = triggers("copy", "--from", FILE, folder=tmp_path, TRIGGERS_DATABASE_URL=server_url)
    assert (ended.code, ended.err) == (0, "")
    again = copy(tmp_path, server_url)
    assert again.code == 0
    assert again.out.startswith(f"{FILE} was copied to {server_url} at 2")


def test_a_file_in_use_is_refused_with_who_uses_it(
    server_url: str, serve: Serve, tmp_path: Path
) -> None:
    serving = serve()
    ended = copy(tmp_path, server_url)
    assert (ended.code, ended.out) == (1, "")
    assert f"is in use by another server (process {serving.pid})" in ended.err
    assert ended.err.count("\n") == 1
    assert serving.end() == 0


def test_a_database_in_use_is_refused(server_url: str, serve: Serve, tmp_path: Path) -> None:
    assert serve().end() == 0
    assert serve(TRIGGERS_DATABASE_URL=server_url).end() == 0
    ended = copy(tmp_path, with_password(server_url, "CANARY"))
    assert (ended.code, ended.out) == (1, "")
    shown = with_password(server_url, "***")
    assert ended.err == (
        f"triggers: {FILE} to {shown}: the database is in use already; copy to a new one\n"
    )


@pytest.mark.parametrize(
    ("source", "target", "code", "said"),
    [
        (FILE, None, 1, "there is no database at "),
        ("sqlite:///garbage", None, 1, "cannot "),
        ("sqlite:///other.db", None, 1, "other.db is not a database of Triggers API"),
        (FILE, "postgresql://me:CANARY@127.0.0.1:1/events", 1, "cannot connect to the database"),
        (FILE, "sqlite:///other.db", 2, "--to sqlite:///other.db: use postgresql://"),
        ("postgresql://me:CANARY@host/events", None, 2, "use sqlite:///"),
    ],
)
def test_what_cannot_be_copied_is_refused_in_one_line(
    server_url: str, tmp_path: Path, source: str, target: str | None, code: int, said: str
) -> None:
    if target is not None:
        triggers("migrate", folder=tmp_path)
    (tmp_path / "garbage").write_text("not a database, and not an empty file either")
    with apsw.Connection(str(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE somebody_elses (x)")
    ended = copy(tmp_path, target or server_url, source=source)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert "CANARY" not in ended.err
    assert (tmp_path / "garbage").read_text().startswith("not a database")
    if source == FILE and target is None:
        assert not (tmp_path / "triggers.db").exists()


def everything_of(terminal: int) -> bytes:
    """What is written to a terminal until nobody has it any more."""
    seen = b""
    with suppress(OSError):  # how Linux says so
        while piece := os.read(terminal, 65_536):
            seen += piece
    return seen


def test_on_a_terminal_a_bar_shows_how_far_it_is(
    server_url: str, serve: Serve, tmp_path: Path
) -> None:
    assert serve().end() == 0
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        (*TRIGGERS, "copy", "--from", FILE, "--to", server_url),
        cwd=tmp_path,
        env=environment(TERM="xterm"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    # A terminal that nobody reads holds up whoever writes to it.
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(everything_of, ours)
        process.communicate(timeout=LONGEST_S)
        assert process.returncode == 0
        shown = reading.result(LONGEST_S).decode()
    os.close(ours)
    assert "copying triggers.db" in shown
    assert "%" in shown
