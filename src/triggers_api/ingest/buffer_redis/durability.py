"""What an event in Redis survives: asked of the server, at the start and again and again."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from triggers_api.errors import StartError, StoreUnavailable, Unavailable
from triggers_api.redis.client import Redis
from triggers_api.redis.connection import RefusedByRedis

LEAST_VERSION: Final = (7, 0)
_DIRECTIVES: Final = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
}
"""What a 202 rests on: with these it is on the disk of Redis, and stays until it is taken out."""


class RedisDurability(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of itself.

    Attributes:
        server: ``redis`` or ``valkey``.
        version: of it.
        settings: the directives that matter; empty where it does not tell.
        weaknesses: why what it keeps may be lost, one line each; empty if nothing can.
    """

    server: str
    version: str
    settings: dict[str, str]
    weaknesses: tuple[str, ...]

    @property
    def remark(self) -> str:
        """For the header that answers carry where something may be lost: how often it is flushed."""
        if not self.settings:
            return "unknown"
        return self.settings["appendfsync"] if self.settings["appendonly"] == "yes" else "none"


async def ask_durability(redis: Redis) -> RedisDurability:
    """Ask a server what it does to keep things.

    Raises:
        StartError: it cannot be used for this at all.
        Unavailable: it is away, or another's replica.
    """
    told, answer = await redis.pipeline([("INFO",), ("CONFIG", "GET", *_DIRECTIVES)])
    if isinstance(told, Unavailable):
        raise told
    if isinstance(told, Exception):
        raise StoreUnavailable(f"Redis does not tell about itself: {told}")
    info = _info(told)
    server = "valkey" if "valkey_version" in info else "redis"
    version = info.get(f"{server}_version", "0")
    # Valkey tells which Redis it is compatible with.
    if _version(info.get("redis_version", "0")) < LEAST_VERSION:
        raise StartError(
            f"the ingest buffer needs Redis 7.0 or later, or Valkey; this is {version}"
        )
    if info.get("redis_mode") == "cluster":
        raise StartError("the ingest buffer needs one Redis, and this is a node of a cluster")
    if info.get("role") != "master":
        raise StoreUnavailable("this Redis is a replica")
    if isinstance(answer, (Unavailable, RefusedByRedis)):
        why = "its settings cannot be seen: CONFIG is not allowed"
        return RedisDurability(server=server, version=version, settings={}, weaknesses=(why,))
    settings = _texts(answer)
    weaknesses = [
        f"{name} is {settings.get(name, 'unknown')} and not {wanted}"
        for name, wanted in _DIRECTIVES.items()
        if settings.get(name) != wanted
    ]
    return RedisDurability(
        server=server, version=version, settings=settings, weaknesses=tuple(weaknesses)
    )


def _info(text: bytes) -> Mapping[str, str]:
    lines = (line.partition(":") for line in text.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _texts(pairs: Sequence[Any]) -> dict[str, str]:
    texts = [each.decode() for each in pairs]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
