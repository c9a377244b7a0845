"""What a page that somebody leaves open costs the service, in percent of one core.

Starts the service in a process of its own, sends it some events and lets it come to rest. Then Chromium
looks at one view after the other for a while, and in between at nothing: the difference is the page's.
Ends with 4 when a view costs as much as the bound. From the root of the project, with chromium and
playwright there::

    python scripts/measure_page_at_rest.py --engine sqlite
    python scripts/measure_page_at_rest.py --engine postgres [--rounds 3] [--seconds 20]
"""

# ruff: noqa: INP001, T201 - a program of the project, which prints

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from typing import Final

from playwright.sync_api import Page, sync_playwright
from tests.cli.conftest import KEY, Endpoint, Serving
from tests.servers.postgres import PostgresServer

BOUND: Final = 0.01
_OVER: Final = 4
"""What it ends with when a view costs more, as the benchmark does."""
_EVENTS: Final = 200
_OPERATOR_KEY: Final = "a-key-of-the-operator"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_VIEWS: Final = {
    "Overview": "", "Events": "events", "Deliveries": "deliveries", "Subscriptions": "subscriptions",
    "Dead letters": "dead-letters", "Operations": None,
}  # fmt: skip
"""Within the organization; ``None``: of the operator alone."""


def _used_s(pids: list[int]) -> float:
    """Processor time that processes have had."""
    used = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / _TICKS


def _family(pid: int) -> Iterator[int]:
    """A process, and all that it started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _share(pid: int, seconds: float) -> float:
    """How much of a core a process and its children take for a while."""
    pids = list(_family(pid))
    began, used = time.monotonic(), _used_s(pids)
    time.sleep(seconds)
    return (_used_s(pids) - used) / (time.monotonic() - began)


def _fill(serving: Serving, receiver: str) -> str:
    for name in ("Warehouse", "Bookkeeping"):
        body = {"url": f"{receiver}/{name}", "event_types": ["order.*"], "description": name}
        assert serving.call("POST", "/api/subscriptions", KEY, body)[0] == 201
    for number in range(_EVENTS):
        body = {"type": "order.created", "payload": {"id": number}}
        assert serving.call("POST", "/api/events", KEY, body)[0] == 202
    status, found = serving.call("GET", "/api/admin/organizations", _OPERATOR_KEY)
    assert status == 200
    organization: str = found["data"][-1]["id"]
    return organization


def _measure(page: Page, serving: Serving, organization: str, rounds: int, seconds: float) -> int:
    with_page: dict[str, list[float]] = {name: [] for name in _VIEWS}
    without: list[float] = []
    pid = serving.pid
    page.goto(f"{serving.url}/ui/login")
    page.get_by_label("Key").fill(_OPERATOR_KEY)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_selector("main#main")
    time.sleep(seconds)  # what was sent is settled, tallied and indexed by then
    for _ in range(rounds):
        for name, path in _VIEWS.items():
            page.goto("about:blank")
            time.sleep(2)
            without.append(_share(pid, seconds))
            of = "operations" if path is None else f"org/{organization}/{path}"
            page.goto(f"{serving.url}/ui/{of}")
            time.sleep(2)
            with_page[name].append(_share(pid, seconds))
    base = fmean(without)
    print(f"without a page: {base:.2%}, {min(without):.2%} to {max(without):.2%}")
    print(f"| {'view':13} | with it | of it |\n| {'-' * 13} | ------: | ----: |")
    for name, shares in with_page.items():
        print(f"| {name:13} | {fmean(shares):7.2%} | {fmean(shares) - base:5.2%} |", flush=True)
    dear = [name for name, shares in with_page.items() if fmean(shares) - base >= BOUND]
    print(f"{BOUND:.0%} or more: {', '.join(dear) or 'none'}")
    return _OVER if dear else 0


def main() -> int:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20)
    asked = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not there")
    settings = {
        "TRIGGERS_API_KEY": KEY, "TRIGGERS_ADMIN_KEY": _OPERATOR_KEY,
        "TRIGGERS_ALLOW_CIDRS": "127.0.0.0/8",
    }  # fmt: skip
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if asked.engine == "postgres":
            server = stack.enter_context(PostgresServer())
            settings["TRIGGERS_DATABASE_URL"] = server.url(server.create_database())
        receiver = stack.enter_context(Endpoint())
        serving = Serving(folder, **settings)
        stack.callback(serving.close)
        organization = _fill(serving, receiver.url)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        stack.callback(browser.close)
        return _measure(browser.new_page(), serving, organization, asked.rounds, asked.seconds)


if __name__ == "__main__":
    raise SystemExit(main())
