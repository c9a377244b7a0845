"""What processes say of themselves, in readiness and in metrics at once, and how soon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.faults.server import Server, until

SEEN_WITHIN_S: Final = 2.0
SLACK_S: Final = 1.0
"""For asking, on a machine that does other things as well."""

FINE: Final = {
    "code": 200, "status": "ready", "store": "ok", "workers": "ok",
    "ready": 1, "store ok": 1, "workers ok": 1,
}  # fmt: skip
AWAY: Final = {"code": 503, "status": "not-ready", "ready": 0, "store ok": 0}


async def says(server: Server) -> dict[str, Any]:
    """What a process says of itself and of others."""
    answer = await server.ready()
    checks = answer.json["checks"]
    return {
        "code": answer.status,
        "status": answer.json["status"],
        "store": checks["store"],
        "workers": checks["workers"],
        "disk": checks.get("disk"),
        "ready": await server.metric("triggers_ready"),
        "store ok": await server.metric("triggers_check", check="store"),
        "workers ok": await server.metric("triggers_check", check="workers"),
        "disk ok": await server.metric("triggers_check", check="disk"),
    }


async def all_say(
    servers: Sequence[Server], wanted: Mapping[str, Any], *, within_s: float
) -> float:
    """Wait until every process that runs says so; returns the seconds."""
    running = [each for each in servers if each.poll() is None]

    async def said() -> bool:
        return all([wanted.items() <= (await says(each)).items() for each in running])

    return await until(said, f"everybody says {wanted}", within_s=within_s)
