"""The curl that a start prints, pasted into a shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cli.conftest import Serve, environment, keys_of
from tests.external.conftest import Program


def test_the_printed_curl_is_answered_with_202(
    program: Program, serve: Serve, tmp_path: Path
) -> None:
    program("curl")
    serving = serve()
    command = serving.greeting[serving.greeting.index("curl ") :]
    pasted = subprocess.run(
        ["sh", "-eu", "-c", command],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    head, _, body = pasted.stdout.partition("\n\n")
    assert head.startswith("HTTP/1.1 202 ")
    _, listed = serving.call("GET", "/api/events", keys_of(serving)["API key"])
    (event,) = listed["data"]
    assert event["id"] in body
    assert event["payload"] == {"id": 42, "total": 99.5}
