"""``triggers doctor``: what is well, what to watch, what must be mended."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw
import pytest
from tests.cli.conftest import Ended, Serve, needs, triggers
from tests.servers.ports import free_port

from triggers_api.store import migrations
from triggers_api.store.sqlite import schema

LINE: Final = re.compile(r"(  ok|warn|fail)  ([a-z ]{14}) (.+)")

ALL: Final = len(migrations.load(schema.PACKAGE))

Doctor = Callable[..., Ended]


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    def doctor(*arguments: str, **environ: str) -> Ended:
        ended = triggers("doctor", *arguments, folder=tmp_path, **environ)
        assert ended.err == ""
        return ended

    return doctor


def findings(ended: Ended) -> dict[str, tuple[str, str]]:
    """Level and text by what they are about."""
    found = {}
    for line in ended.out.splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        found[match[2].strip()] = (match[1].strip(), match[3])
    return found


def test_a_healthy_machine_without_a_database_is_well_and_stays_as_it_is(
    doctor: Doctor, tmp_path: Path
) -> None:
    ended = doctor("--port", "0")
    found = findings(ended)
    assert ended.code == 0
    assert set(found) == {
        "python", "sqlite", "file system", "free space", "fsync", "database", "port", "egress",
        "leases", "retention",
    }  # fmt: skip
    assert {about for about, (level, _) in found.items() if level == "fail"} == set()
    assert found["database"] == ("ok", f"{tmp_path}/triggers.db will be made at the first start")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("deep", [[], ["--deep"]], ids=["quick", "deep"])
def test_a_database_is_looked_through(deep: list[str], doctor: Doctor, tmp_path: Path) -> None:
    assert triggers("migrate", folder=tmp_path).code == 0
    ended = doctor("--port", "0", *deep)
    assert ended.code == 0
    assert findings(ended)["schema"] == ("ok", "up to date")
    assert findings(ended)["database"] == ("ok", f"{tmp_path}/triggers.db is intact")


def test_beside_a_server_the_port_is_its_own(doctor: Doctor, serve: Serve) -> None:
    serving = serve()
    port = serving.url.rpartition(":")[2]
    ended = doctor("--port", port)
    assert ended.code == 0
    assert findings(ended)["port"] == ("ok", f"127.0.0.1:{port} is the running service's")
    assert findings(ended)["database"][0] == "ok"
    assert serving.end() == 0


def test_a_damaged_database_must_be_mended(doctor: Doctor, tmp_path: Path) -> None:
    assert triggers("migrate", folder=tmp_path).code == 0
    path = tmp_path / "triggers.db"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    ended = doctor("--port", "0")
    assert ended.code == 1
    assert findings(ended)["database"][0] == "fail"


def test_what_is_no_database_must_be_mended(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "triggers.db").write_text("not a database, and not an empty file either")
    ended = doctor("--port", "0")
    assert ended.code == 1
    assert findings(ended)["database"] == (
        "fail",
        f"{tmp_path}/triggers.db: file is not a database",
    )


def test_a_folder_that_is_not_there_must_be_mended(doctor: Doctor, tmp_path: Path) -> None:
    ended = doctor("--port", "0", "--database-url", "sqlite:///missing/triggers.db")
    assert ended.code == 1
    assert findings(ended)["folder"] == ("fail", f"{tmp_path}/missing does not exist")
    assert "database" not in findings(ended)


def test_migrations_to_come_are_to_watch(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "triggers.db").touch(mode=0o600)
    ended = doctor("--port", "0")
    assert ended.code == 0
    assert findings(ended)["schema"] == ("warn", f"{ALL} migration(s) to be applied")


def test_a_schema_of_the_future_must_be_mended(doctor: Doctor, tmp_path: Path) -> None:
    assert triggers("migrate", folder=tmp_path).code == 0
    with apsw.Connection(str(tmp_path / "triggers.db")) as db:
        db.execute("INSERT INTO schema_migrations VALUES (9999, 'of the future', 'x', 0)")
    ended = doctor("--port", "0")
    assert ended.code == 1
    level, text = findings(ended)["database"]
    assert level == "fail"
    assert "9999 (of the future)" in text


def test_a_database_that_others_can_read_is_to_watch(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "triggers.db").touch(mode=0o644)
    assert findings(doctor("--port", "0"))["permissions"][0] == "warn"
    (tmp_path / "triggers.db").chmod(0o600)
    assert "permissions" not in findings(doctor("--port", "0"))


def test_private_networks_that_deliveries_may_go_to_are_to_watch(doctor: Doctor) -> None:
    assert findings(doctor("--port", "0"))["egress"][0] == "ok"
    ended = doctor("--port", "0", TRIGGERS_ALLOW_CIDRS="127.0.0.0/8,169.254.0.0/16")
    assert ended.code == 0
    level, text = findings(ended)["egress"]
    assert level == "warn"
    assert "127.0.0.1, 169.254.169.254 (" in text


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_port_is_tried_on_the_address_that_will_be_listened_on(
    host: str, doctor: Doctor
) -> None:
    needs(host)
    port = free_port()  # nobody else is given it before it is looked at again
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        taken.bind((host, port))
        taken.listen()
        found = findings(doctor("--host", host, "--port", str(port)))
        assert found["port"] == ("warn", f"{host}:{port}: Address already in use")
    found = findings(doctor("--host", host, "--port", str(port)))
    assert found["port"] == ("ok", f"{host}:{port} is free")


def test_a_name_that_nobody_has_is_to_watch(doctor: Doctor) -> None:
    assert findings(doctor("--host", "no-such-host.invalid"))["port"][0] == "warn"


def test_settings_that_do_not_fit_are_misuse(tmp_path: Path) -> None:
    ended = triggers("doctor", "--lease-s", "1", folder=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    ended = triggers("doctor", "--database-url", "mysql://x", folder=tmp_path)
    assert (ended.code, ended.out) == (2, "")


def test_days_that_are_without_effect_are_told_of(doctor: Doctor) -> None:
    given = {"TRIGGERS_RETENTION_DAYS": "7", "TRIGGERS_DELIVERY_RETENTION_DAYS": "30"}
    level, text = findings(doctor("--port", "0", **given))["retention"]
    assert level == "warn"
    assert text.startswith("deliveries go with their event after 7 days")
    level, text = findings(doctor("--port", "0", TRIGGERS_DEAD_LETTER_RETENTION_DAYS="0"))[
        "retention"
    ]
    assert (level, text) == ("ok", "events 7 days, deliveries 7 days, dead letters for ever")
