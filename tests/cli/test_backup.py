"""``triggers backup`` and ``triggers restore``: a copy of a file that is served, and the way back."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import apsw
import pytest
from tests.cli.conftest import (
    LONGEST_S,
    TRIGGERS,
    Ended,
    Endpoint,
    Serve,
    Serving,
    environment,
    triggers,
)
from tests.cli.test_doctor import findings
from tests.migrations.conftest import until

from triggers_api.cli.copies import about
from triggers_api.errors import DatabaseInUse, StartError
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.sqlite.backup import back_up
from triggers_api.store.sqlite.backup import restore as put_back
from triggers_api.store.sqlite.lock import OwnerLock

API_KEY: Final = "a-key-of-the-organization"
KEYS: Final = {
    "TRIGGERS_API_KEY": API_KEY,
    "TRIGGERS_ADMIN_KEY": "a-key-of-the-operator",
    "TRIGGERS_ALLOW_CIDRS": "127.0.0.0/8",
    "TRIGGERS_RETRY_SCHEDULE": "0.1,0.1,0.1",
}
READ_ONLY_URI: Final = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
NOW: Final = Timestamp(1_795_000_000_000)


def backup(folder: Path, *arguments: str | Path, **environ: str) -> Ended:
    return triggers("backup", *map(str, arguments), folder=folder, **environ)


def restore(folder: Path, *arguments: str | Path, **environ: str) -> Ended:
    return triggers("restore", *map(str, arguments), folder=folder, **environ)


def sent(serving: Serving, number: int) -> str:
    status, answer = serving.call(
        "POST", "/api/events", API_KEY, {"type": "order.created", "payload": {"number": number}}
    )
    assert status == 202
    event_id: str = answer["id"]
    return event_id


def subscribed(serving: Serving, url: str) -> None:
    body = {"url": url, "event_types": ["*"]}
    assert serving.call("POST", "/api/subscriptions", API_KEY, body)[0] == 201


def events_in(path: Path) -> int:
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        ((count,),) = db.execute("SELECT count(*) FROM events")
        return int(count)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


# ── there and back ────────────────────────────────────────────────────────────────────────────────


def test_what_was_accepted_before_is_served_and_delivered_from_the_copy(
    serve: Serve, tmp_path: Path, elsewhere: Path
) -> None:
    copy = elsewhere / "copy.db"
    with Endpoint() as endpoint:
        before = serve(**KEYS)
        subscribed(before, endpoint.url)
        assert before.call("PATCH", "/api/admin/controls", KEYS["TRIGGERS_ADMIN_KEY"],
                           {"delivery": "paused"})[0] == 200  # fmt: skip
        events = [sent(before, number) for number in range(20)]
        made = backup(tmp_path, copy)
        assert (made.code, made.err) == (0, "")
        assert "20 events, " in findings(made)["books"][1]
        late = sent(before, 20)
        assert before.end() == 0

        back = restore(tmp_path, copy, "--replace")
        assert (back.code, back.err) == (0, "")
        after = serve(**KEYS)
        assert all(after.call("GET", f"/api/events/{each}", API_KEY)[0] == 200 for each in events)
        assert after.call("GET", f"/api/events/{late}", API_KEY)[0] == 404
        assert after.call("PATCH", "/api/admin/controls", KEYS["TRIGGERS_ADMIN_KEY"],
                          {"delivery": "running"})[0] == 200  # fmt: skip
        until(lambda: sorted(endpoint.ids) == sorted(events), "each was delivered, once")
        assert after.end() == 0


def test_a_copy_of_a_file_that_is_being_written_to_is_of_one_moment(
    serve: Serve, tmp_path: Path, elsewhere: Path
) -> None:
    serving, copy = serve(**KEYS), elsewhere / "copy.db"
    answered = 0
    ended = threading.Event()

    def write() -> None:
        nonlocal answered
        while not ended.is_set():
            sent(serving, answered)
            answered += 1

    writing = threading.Thread(target=write)
    writing.start()
    try:
        until(lambda: answered > 50, "events come in")
        before = answered
        assert backup(tmp_path, copy).code == 0
        after = answered
        until(lambda: answered > after, "and go on coming in")
    finally:
        ended.set()
        writing.join()
    assert before <= events_in(copy) <= after + 1
    assert findings(
        triggers("doctor", "--deep", f"--database-url=sqlite:///{copy}", folder=tmp_path)
    )["database"] == ("ok", f"{copy} is intact")


def test_a_file_that_nobody_serves_is_copied_as_well(
    serve: Serve, tmp_path: Path, elsewhere: Path
) -> None:
    serving = serve(**KEYS)
    sent(serving, 1)
    serving.end(signal.SIGKILL)
    assert backup(tmp_path, elsewhere / "copy.db").code == 0
    assert events_in(elsewhere / "copy.db") == 1


# ── what is there after ───────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database of a service that has ended: an event, a subscription with secrets."""
    folder = tmp_path_factory.mktemp("ended")
    serving = Serving(folder, **KEYS)
    try:
        subscribed(serving, "http://127.0.0.1:9/")
        sent(serving, 1)
        assert serving.end() == 0
    finally:
        serving.close()
    return folder


@pytest.fixture
def place(ended: Path, tmp_path: Path) -> Path:
    """Such a folder for one test."""
    return Path(shutil.copytree(ended, tmp_path / "place"))


@pytest.fixture
def database(place: Path) -> Path:
    return place / "triggers.db"


def copied(database: Path, **options: Any) -> Path:  # noqa: ANN401 - of back_up
    """A copy beside it."""
    return back_up(database, database.with_name("copy.db"), now=NOW, **options).path


def test_into_a_folder_each_copy_gets_a_name_of_its_own_that_says_when(
    place: Path, elsewhere: Path
) -> None:
    assert backup(place, elsewhere).code == 0
    (copy,) = elsewhere.glob("*.db")
    assert re.fullmatch(r"triggers-\d{8}T\d{6}Z\.db", copy.name)
    assert sorted(path.name for path in elsewhere.iterdir()) == [copy.name, f"{copy.name}.sha256"]


def test_the_copy_is_one_file_for_its_owner_only_with_its_sum_beside_it(
    database: Path, elsewhere: Path
) -> None:
    copy = elsewhere / "copy.db"
    back_up(database, copy, now=NOW)
    assert {path.name for path in elsewhere.iterdir()} == {"copy.db", "copy.db.sha256"}
    assert {path.stat().st_mode & 0o077 for path in elsewhere.iterdir()} == {0}
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    assert (elsewhere / "copy.db.sha256").read_text() == f"{digest}  copy.db\n"


def test_a_copy_can_be_read_where_nothing_can_be_written(database: Path) -> None:
    copy = copied(database)
    with closing(apsw.Connection(f"file:{copy}?immutable=1", flags=READ_ONLY_URI)) as db:
        assert db.pragma("journal_mode") == "delete"
        assert list(db.execute("SELECT count(*) FROM events")) == [(1,)]


def test_a_copy_never_takes_the_place_of_what_is_there(database: Path) -> None:
    copy = database.with_name("copy.db")
    copy.write_text("another")
    with pytest.raises(StartError, match="is there already"):
        copied(database)
    assert copy.read_text() == "another"


def test_not_even_of_what_came_there_while_it_was_made(database: Path) -> None:
    copy = database.with_name("copy.db")

    def meanwhile(fraction: float) -> None:
        if fraction == 1:
            copy.write_text("another")

    with pytest.raises(StartError, match="File exists"):
        copied(database, advance=meanwhile)
    assert copy.read_text() == "another"
    assert not list(database.parent.glob(".*.partial"))


def test_of_two_that_make_the_same_copy_one_is_refused(database: Path) -> None:
    partial = database.with_name(".copy.db.partial")
    partial.touch()
    with partial.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StartError, match="another process is making"):
            copied(database)


def test_what_one_left_that_was_cut_off_is_in_nobodys_way(database: Path) -> None:
    partial = database.with_name(".copy.db.partial")
    partial.write_text("half of a copy" * 1000)
    assert events_in(copied(database)) == 1
    assert not partial.exists()


def test_one_that_is_killed_leaves_nothing_under_the_final_name(place: Path) -> None:
    copy, partial = place / "copy.db", place / ".copy.db.partial"
    slow = subprocess.Popen(
        (*TRIGGERS, "backup", str(copy), "--max-rate", "0.01"),
        cwd=place, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until(partial.exists, "it has begun")
    slow.kill()
    slow.wait(LONGEST_S)
    assert not copy.exists()


def test_one_that_does_not_fit_leaves_nothing(place: Path) -> None:
    ended = subprocess.run(
        ("sh", "-c", 'ulimit -f 64; exec "$@"', "sh", *TRIGGERS, "backup", "copy.db"),
        cwd=place, env=environment(), capture_output=True, text=True, timeout=LONGEST_S,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.startswith("triggers: cannot copy ")
    assert "Traceback" not in ended.stderr
    assert not list(place.glob("*copy*"))


def test_the_rate_bounds_what_is_read(database: Path) -> None:
    pauses: list[float] = []
    size = database.stat().st_size
    copied(database, bytes_a_second=size / 1000, pause=pauses.append)
    assert 900 < sum(pauses) <= 1000


# ── the key ───────────────────────────────────────────────────────────────────────────────────────


def moved(database: Path, *names: str) -> Path:
    """Another machine, which has these files of the folder and nothing else."""
    place = database.parent.with_name("machine")
    place.mkdir()
    for name in names:
        shutil.copy(database.with_name(name), place)
    return place


def test_without_its_key_a_copy_is_not_put_in_place_unless_one_insists(place: Path) -> None:
    level, text = findings(backup(place, "copy.db"))["key"]
    assert (level, "not in the copy" in text) == ("ok", True)
    machine = moved(place / "triggers.db", "copy.db")
    refused = restore(machine, "copy.db")
    assert refused.code == 1
    assert "copy.db.secret" in refused.err
    assert not (machine / "triggers.db").exists()
    insisted = restore(machine, "copy.db", "--without-key")
    assert insisted.code == 1
    assert findings(insisted)["secrets"][0] == "fail"
    assert triggers("encrypt", "--give-up-lost", folder=machine).code == 0


def test_with_its_key_a_copy_goes_to_another_machine(place: Path) -> None:
    assert findings(backup(place, "copy.db", "--with-key"))["key"][0] == "warn"
    machine = moved(place / "triggers.db", "copy.db", "copy.db.secret", "copy.db.sha256")
    back = restore(machine, "copy.db")
    assert (back.code, back.err) == (0, "")
    assert findings(back)["checksum"][0] == "ok"
    key = (place / "triggers.db.secret").read_bytes()
    assert (machine / "triggers.db.secret").read_bytes() == key


def test_with_a_key_of_the_settings_none_is_needed_beside_it(place: Path) -> None:
    key = {"TRIGGERS_SECRET_KEY": "a-key-for-secrets-0123"}
    assert triggers("encrypt", folder=place, **key).code == 0
    assert backup(place, "copy.db", **key).code == 0
    machine = moved(place / "triggers.db", "copy.db")
    assert restore(machine, "copy.db").code == 1
    assert restore(machine, "copy.db", **key).code == 0


# ── what is not put in place ──────────────────────────────────────────────────────────────────────


def damaged(copy: Path) -> None:
    with copy.open("r+b") as file:
        file.seek(copy.stat().st_size // 2)
        file.write(b"\xff" * 4096)


def without_sum(copy: Path) -> None:
    damaged(copy)
    copy.with_name("copy.db.sha256").unlink()


def newer(copy: Path) -> None:
    with closing(apsw.Connection(str(copy))) as db:
        db.execute("INSERT INTO schema_migrations VALUES (9999, 'later', 'unknown', 0)")
    copy.with_name("copy.db.sha256").unlink()


def no_database(copy: Path) -> None:
    copy.write_text("once upon a time")
    copy.with_name("copy.db.sha256").unlink()


def of_others(copy: Path) -> None:
    copy.unlink()
    with closing(apsw.Connection(str(copy))) as db:
        db.execute("CREATE TABLE songs (title)")
    copy.with_name("copy.db.sha256").unlink()


def not_whole(copy: Path) -> None:
    copy.with_name("copy.db-wal").write_text("the rest of it")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damaged, "it has changed since"),
        (without_sum, "is damaged"),
        (newer, "newer"),
        (no_database, "no database"),
        (of_others, "is not a database of Triggers API"),
        (not_whole, "is not whole without copy.db-wal"),
        (Path.unlink, "there is no copy"),
    ],
)
def test_what_is_no_good_is_not_put_in_place(
    database: Path, spoil: Callable[[Path], Any], words: str
) -> None:
    copy = copied(database)
    spoil(copy)
    before = database.read_bytes()
    with pytest.raises(StartError, match=words):
        put_back(copy, database, now=NOW, replace=True)
    assert database.read_bytes() == before
    assert not list(database.parent.glob("*.before-*"))


def test_a_file_that_is_in_use_is_not_replaced(database: Path) -> None:
    copy, lock = copied(database), OwnerLock(database)
    try:
        with pytest.raises(DatabaseInUse):
            put_back(copy, database, now=NOW, replace=True)
    finally:
        lock.release(in_order=True)


def test_a_file_that_is_there_is_replaced_only_when_one_says_so(place: Path) -> None:
    copied(place / "triggers.db")
    ended = restore(place, "copy.db")
    assert ended.code == 1
    assert "--replace keeps it aside" in ended.err


def test_what_was_there_is_kept_whole_with_what_its_log_held(
    place: Path, database: Path, serve: Serve
) -> None:
    copy = copied(database)
    serving = serve(folder=place, **KEYS)
    sent(serving, 2)
    serving.end(signal.SIGKILL)  # the last events are in the log alone
    assert database.with_name("triggers.db-wal").stat().st_size
    done = put_back(copy, database, now=NOW, replace=True)
    (kept,) = done.aside
    assert (events_in(kept), events_in(database)) == (2, 1)
    assert serve(folder=place, **KEYS).end() == 0


def test_a_damaged_file_is_replaced_too(place: Path, database: Path, serve: Serve) -> None:
    copy = copied(database)
    database.write_bytes(b"\0" * 8192)
    database.with_name("triggers.db-wal").write_bytes(b"\0" * 8192)
    put_back(copy, database, now=NOW, replace=True)
    assert not database.with_name("triggers.db-wal").exists()
    assert serve(folder=place, **KEYS).end() == 0


def test_one_of_an_older_version_is_copied_and_said_to_need_migrations(database: Path) -> None:
    with closing(apsw.Connection(str(database))) as db:
        db.execute(
            "DELETE FROM schema_migrations WHERE number = (SELECT max(number) FROM schema_migrations)"
        )
    content = back_up(database, database.with_name("copy.db"), now=NOW).content
    assert (content.pending, content.accounts) == (1, [])
    (shown,) = about(content)
    assert "the next start applies 1 migration(s)" in shown.text


def test_of_postgresql_it_says_what_to_use(tmp_path: Path) -> None:
    url = {"TRIGGERS_DATABASE_URL": "postgresql://triggers@127.0.0.1:1/triggers"}
    for ended in (backup(tmp_path, "copy", **url), restore(tmp_path, "copy", **url)):
        assert ended.code == 2
        assert "docs/operate/backup.md" in ended.err


def test_a_folder_that_is_not_there_is_said_to_be_so(database: Path, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot write to"):
        back_up(database, tmp_path / "gone" / "copy.db", now=NOW)
    with pytest.raises(StartError, match="there is no database"):
        back_up(tmp_path / "gone.db", tmp_path / "other.db", now=NOW)
