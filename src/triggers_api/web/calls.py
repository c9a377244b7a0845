"""The product's own API, called in this process.

A call goes through the whole application, as one from outside would: the same checks of scopes, the same
organization's borders, the same refusals. Only the key is different: a word that stands for the
session's principal, good for this one call (``http/auth.py``).
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar, overload
from urllib.parse import quote, urlencode

import msgspec

from triggers_api.http.application import Application
from triggers_api.http.auth import Authenticator
from triggers_api.store.directory import Principal

T = TypeVar("T")

_WITHIN_S: Final = 60.0


class Refused(Exception):
    """The API said no: ``problem`` is its answer (RFC 9457)."""

    def __init__(
        self, status: int, problem: dict[str, Any], retry_after: str | None = None
    ) -> None:
        super().__init__(problem.get("detail", ""))
        self.status = status
        self.problem = problem
        self.retry_after = retry_after


class Reply(msgspec.Struct, frozen=True):
    """What the API answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever was answered
        """The decoded body, ``None`` where there is none."""
        return msgspec.json.decode(self.body) if self.body else None


class Call(msgspec.Struct, frozen=True):
    """A call of the API, complete but for the key."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None

    @property
    def target(self) -> str:
        """Path and query, encoded."""
        path = quote(self.path, safe="/:@")
        return f"{path}?{urlencode(self.query)}" if self.query else path


class Api:
    """The API as one principal may use it."""

    def __init__(
        self,
        application: Application,
        authenticator: Authenticator,
        principal: Principal,
        *,
        request_id: str,
        client: tuple[str, int] | None,
        forwarded: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """Set up.

        Args:
            application: the API.
            authenticator: takes the word for the principal.
            principal: who speaks.
            request_id: of the browser's request, whose id the call has as well.
            client: where that came from.
            forwarded: what proxies said of that.
        """
        self._application = application
        self._authenticator = authenticator
        self.principal = principal
        self._request_id = request_id
        self._client = client
        self._forwarded = forwarded

    @overload
    async def get(self, path: str, **query: object) -> Any: ...  # noqa: ANN401

    @overload
    async def get(self, path: str, into: type[T], **query: object) -> T: ...

    async def get(self, path: str, into: Any = Any, **query: object) -> Any:
        """Read something.

        Args:
            path: the route, with its parameters filled in; they are encoded here.
            into: what to decode the answer into; by default plain JSON.
            query: parameters; those that are ``None`` are left out.

        Raises:
            Refused: by the API.
        """
        reply = await self.call(Call("GET", path, _query(query)))
        return msgspec.json.decode(reply.body, type=into)

    async def call(self, call: Call) -> Reply:
        """Make a call.

        Raises:
            Refused: by the API.
        """
        reply = await self._send(call)
        if reply.status >= 400 and reply.headers.get("content-type") == "application/problem+json":
            raise Refused(reply.status, reply.json, reply.headers.get("retry-after"))
        return reply

    async def _send(self, call: Call) -> Reply:
        body = b"" if call.body is None else call.body
        start: dict[str, Any] = {}
        parts: list[bytes] = []
        with self._authenticator.speaking_for(self.principal) as word:
            headers = [(b"host", b"localhost"), (b"authorization", b"Bearer " + word)]
            if call.body is not None:
                headers.append((b"content-type", b"application/json"))
                headers.append((b"content-length", b"%d" % len(body)))
            headers.append((b"x-request-id", self._request_id.encode("latin-1")))
            headers += self._forwarded
            path, _, query = call.target.partition("?")
            scope = {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": "1.1",
                "method": call.method,
                "scheme": "http",
                "path": call.path,
                "raw_path": path.encode("ascii"),
                "query_string": query.encode("ascii"),
                "root_path": "",
                "headers": headers,
                "client": self._client,
                "server": None,
                "state": {},
            }
            sent = False

            async def receive() -> dict[str, Any]:
                nonlocal sent
                if sent:
                    await asyncio.Event().wait()
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}

            async def send(message: Any, /) -> None:  # noqa: ANN401 - ASGI's
                if message["type"] == "http.response.start":
                    start.update(message)
                else:
                    parts.append(message.get("body", b""))

            async with asyncio.timeout(_WITHIN_S):
                await self._application(scope, receive, send)
        return Reply(
            start["status"],
            {name.decode(): value.decode("latin-1") for name, value in start["headers"]},
            b"".join(parts),
        )


def _query(given: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    found = []
    for name, value in given.items():
        if value is None:
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        # An underscore behind a name keeps it apart from Python's own.
        found.append((name.rstrip("_"), text))
    return tuple(found)
