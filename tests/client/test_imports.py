"""A program that only sends events does not carry the service with it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LIGHT = "import json, sys; import triggers_api.client{more}; print(json.dumps(sorted(sys.modules)))"


def loaded(more: str = "") -> set[str]:
    """The modules of a new process that has imported the client."""
    program = LIGHT.format(more=more)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {*json.loads(done.stdout)}


def test_nothing_of_the_service_is_imported() -> None:
    ours = {name for name in loaded() if name.startswith("triggers_api.")}
    assert ours
    assert {name for name in ours if not name.startswith("triggers_api.client")} == set()


@pytest.mark.parametrize("more", ["", "; triggers_api.client.AsyncClient"])
def test_none_of_its_libraries_either(more: str) -> None:
    heavy = {"litestar", "apsw", "structlog", "uvicorn", "prometheus_client", "click", "rich"}
    assert not heavy & loaded(more)


def test_threads_do_without_what_event_loops_need() -> None:
    modules = loaded()
    assert not {"aiohttp", "asyncio", "cryptography"} & modules
    # A count rather than a time: it does not depend on the machine.
    assert len(modules - loaded_by_msgspec()) < 120


def loaded_by_msgspec() -> set[str]:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            LIGHT.format(more="").replace("triggers_api.client", "msgspec.json"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return {*json.loads(done.stdout)}


def test_every_name_it_offers_is_there() -> None:
    program = "from triggers_api.client import *; AsyncClient, Client, verify, AsyncListing"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
