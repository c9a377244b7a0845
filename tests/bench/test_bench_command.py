"""``triggers bench``, run as people run it: what it counts, not how fast anything is."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.servers.postgres import Postgres

BENCH = [sys.executable, "-m", "triggers_api", "bench"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(tmp_path)}


def test_every_event_of_a_run_is_accounted_for(tmp_path: Path, environ: dict[str, str]) -> None:
    options = [
        "--profile",
        "pipeline",
        "--events",
        "60",
        "--concurrency",
        "4",
        "--duplicates",
        "25",
    ]
    done = subprocess.run(
        [*BENCH, *options, "--json"], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert done.returncode == report["exit_code"] == 0
    assert report["machine"]["cores"] >= 1
    assert report["ingest"] is report["latency"] is report["idle"] is None

    measured = report["pipeline"]
    load, accounting, delivered = (measured[name] for name in ("load", "accounting", "delivered"))
    accepted = accounting["accepted"]
    assert load["answers"] == 60
    assert load["statuses"] == {"200": accounting["duplicates"], "202": accepted}
    assert accepted + accounting["duplicates"] == 60
    assert accounting["stored"] == accepted
    assert accounting["balanced"]
    assert accounting["missing"] == accounting["unexplained"] == 0
    assert accounting["sampled"] == accounting["found"] == accepted
    assert accounting["wrong_duplicates"] == 0
    assert delivered["received"] == delivered["settled"] == accepted
    assert delivered["strangers"] == delivered["repeats"] == 0
    assert delivered["verified"] == accepted
    assert delivered["wrong_signatures"] == 0
    assert load["latency"]["count"] == 60
    assert measured["received_latency"]["count"] == accepted
    assert "api_key" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_backlog_is_delivered_and_the_bare_loop_posts_as_many(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    done = subprocess.run(
        [*BENCH, "--profile", "delivery", "--events", "50", "--json"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert done.returncode == report["exit_code"]
    measured = report["delivery"]
    assert measured["unsettled"] == 0
    assert len(measured["rates"]) == len(measured["bare_rates"]) == len(measured["ratios"]) == 3
    assert all(rate > 0 for rate in (*measured["rates"], *measured["bare_rates"]))
    assert list(tmp_path.iterdir()) == []


def test_batches_are_stored_as_often_as_their_rows_are_inserted(environ: dict[str, str]) -> None:
    done = subprocess.run(
        [*BENCH, "--profile", "batch", "--json"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert done.returncode == report["exit_code"]
    measured = report["batch"]
    assert measured["missing"] == 0
    assert [each["statuses"] for each in measured["slices"]] == [{"202": 60}] * 3
    assert all(rate > 0 for rate in (*measured["rates"], *measured["bare_rates"]))


@pytest.mark.faults
def test_what_healthy_endpoints_are_owed_arrives_beside_those_in_trouble(
    environ: dict[str, str],
) -> None:
    options = ["--profile", "neighbours", "--seconds", "2", "--events", "1000"]
    done = subprocess.run(
        [*BENCH, *options, "--json"], env=environ, capture_output=True, text=True, check=False
    )
    report = json.loads(done.stdout)
    assert done.returncode == report["exit_code"]
    runs = report["neighbours"]["runs"]
    assert sorted(run["troubled"] for run in runs) == [False] * 3 + [True] * 3
    assert [run["missing"] for run in runs] == [0] * 6
    assert all(run["received"]["count"] == 2000 * 85 // 100 for run in runs)


@pytest.mark.faults
def test_a_backlog_is_routed_to_its_last_event_beside_load(environ: dict[str, str]) -> None:
    options = ["--profile", "backlog", "--events", "30000", "--seconds", "0.5", "--rate", "200"]
    done = subprocess.run(
        [*BENCH, *options, "--json"], env=environ, capture_output=True, text=True, check=False
    )
    report = json.loads(done.stdout)
    assert done.returncode == report["exit_code"]
    measured = report["backlog"]
    assert measured["verdicts"][-1]["measured"] == 0
    assert len(measured["drain_rates"]) == 10
    assert measured["drain_rates"][0] > 0
    assert measured["drain_rates"][-1] > 0
    assert all(set(each["statuses"]) == {"202"} for each in measured["slices"])


def test_by_way_of_redis_and_without_every_event_gets_into_the_database(
    environ: dict[str, str], tmp_path: Path, postgres: Postgres
) -> None:
    options = ["--profile", "buffer", "--events", "20", "--concurrency", "2", "--json"]
    name = postgres.create_database()
    done = subprocess.run(
        [*BENCH, *options, "--database-url", postgres.url(name)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    postgres.drop_database(name)
    assert done.stderr == ""
    measured = json.loads(done.stdout)["buffer"]
    assert [each["what"] for each in measured["ways"]] == [
        "PostgreSQL",
        "PostgreSQL, paused",
        "Redis, everysec",
        "Redis, everysec, paused",
        "Redis, always",
        "Redis, always, paused",
    ]
    assert measured["redis"].split()[0] in {"valkey", "redis"}
    assert sum(each["answers"] for each in measured["slices"]) == 5 * 6 * 4
    for books in (measured["direct"], measured["buffered"]):
        assert books["accepted"] == books["stored"]
        assert books["sampled"] == books["found"]
        assert books["missing"] == books["unexplained"] == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(
    tmp_path: Path, environ: dict[str, str], number: signal.Signals
) -> None:
    with subprocess.Popen(
        [*BENCH, "--profile", "idle", "--seconds", "60"], env=environ, stderr=subprocess.PIPE
    ) as bench:
        server = _server_of(bench.pid)
        bench.send_signal(number)
        assert bench.wait(60) == 130
        assert bench.stderr is not None
        assert bench.stderr.read() == b"triggers bench: interrupted\n"
    assert not Path(f"/proc/{server}").exists()
    assert list(tmp_path.iterdir()) == []


def _server_of(pid: int) -> int:
    """The process id of the server that a bench has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in children.read_text().split():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if b"serve" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        time.sleep(0.02)
    raise AssertionError("no server was started")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--url", "http://127.0.0.1:1"], "needs --key"),
        (["--url", "https://example.com", "--key", "k"], "must be http://host:port"),
        (["--profile", "speed"], "is not one of"),
        (["--payload-bytes", "3"], "not in the range"),
    ],
)
def test_what_makes_no_sense_is_refused(options: list[str], said: str) -> None:
    environ = {name: value for name, value in os.environ.items() if "KEY" not in name}
    done = subprocess.run(
        [*BENCH, *options], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr


def test_the_profile_buffer_says_what_it_needs() -> None:
    done = subprocess.run(
        [*BENCH, "--profile", "buffer"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "triggers bench: the profile buffer needs --database-url, a PostgreSQL for its servers\n"
    )


def test_a_given_server_that_does_not_answer_is_a_failure_in_one_line() -> None:
    options = ["--url", "http://127.0.0.1:1", "--key", "k", "--profile", "pipeline"]
    done = subprocess.run([*BENCH, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("triggers bench: no ")
    assert done.stderr.count("\n") == 1
