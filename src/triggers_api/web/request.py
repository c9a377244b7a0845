"""A browser's request, read."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qsl

from triggers_api.errors import BadRequest, UnsupportedMediaType
from triggers_api.http.body import Receive, read_body
from triggers_api.http.wire import request_id
from triggers_api.web.sessions import Visitor

_FORM_LIMIT: Final = 2 << 20
_FIELDS_LIMIT: Final = 2000


class Form(Mapping[str, str]):
    """Fields of a form, or of a query: the first value under a name, or :meth:`all` of them."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs
        self._first: dict[str, str] = {}
        for name, value in pairs:
            self._first.setdefault(name, value)

    def __getitem__(self, name: str) -> str:
        return self._first[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def all(self, name: str) -> list[str]:
        """Every value under a name."""
        return [value for given, value in self.pairs if given == name]

    def filled(self, name: str) -> str | None:
        """What was typed into a field; ``None`` where that is nothing but spaces."""
        return self._first.get(name, "").strip() or None


class BrowserRequest:
    """A request with its head decoded; the body is read when it is asked for."""

    def __init__(self, scope: Any, receive: Receive) -> None:  # noqa: ANN401 - ASGI's
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.receive = receive
        self.scope = scope
        self.headers: dict[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        self.visitor: Visitor | None = None
        """Who asks, once that is known."""
        client = scope.get("client")
        self.client: str = client[0] if client else ""

    @cached_property
    def identifier(self) -> str:
        """The id of the request, for the log."""
        given = self.headers.get("x-request-id")
        return request_id(None if given is None else given.encode("latin-1")).decode()

    @cached_property
    def query(self) -> Form:
        """The parameters of the address."""
        return _fields(self.scope["query_string"])

    @cached_property
    def cookies(self) -> dict[str, str]:
        """The first cookie under each name."""
        found: dict[str, str] = {}
        for name, value in self.scope["headers"]:
            if name == b"cookie":
                for part in value.decode("latin-1").split(";"):
                    key, _, content = part.strip().partition("=")
                    found.setdefault(key, content)
        return found

    @property
    def target(self) -> str:
        """Path and query, as they are in the address bar."""
        query = self.scope["query_string"].decode("latin-1")
        raw = self.scope.get("raw_path") or self.path.encode()
        path: str = raw.decode("latin-1").partition("?")[0]
        return f"{path}?{query}" if query else path

    @property
    def host(self) -> str:
        """The address that the browser used, in lower case."""
        return self.headers.get("host", "").lower()

    @property
    def by_htmx(self) -> bool:
        """A part of a page is asked for, not a page."""
        return self.headers.get("hx-request") == "true"

    @property
    def is_refresh(self) -> bool:
        """The page asks by itself; nobody did anything."""
        return "x-refresh" in self.headers

    async def form(self) -> Form:
        """The fields that were sent.

        Raises:
            UnsupportedMediaType: not a form.
            BadRequest: not UTF-8.
        """
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise UnsupportedMediaType("send a form")
        length = self.headers.get("content-length")
        return _fields(
            await read_body(
                self.receive,
                limit=_FORM_LIMIT,
                content_length=None if length is None else length.encode("latin-1"),
            )
        )


def _fields(encoded: bytes) -> Form:
    try:
        pairs = parse_qsl(
            encoded.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_FIELDS_LIMIT,
        )
    except ValueError:
        raise BadRequest("the form is not UTF-8, or has too many fields") from None
    return Form(pairs)
