"""What the OpenAPI document says can be asked with an id, and requests made of it.

A route that is added is found here by itself. What cannot be told from the document is in the tables
below: what a member that takes an id is the id of. A member of a kind that is not in them is an error,
so that nobody forgets it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

OURS: Final = {
    "event_id": "event_id",
    "subscription_id": "subscription_id",
    "subscription_ids": "subscription_id",
    "delivery_id": "delivery_id",
    "job_id": "job_id",
    "hook_id": "hook_id",
    "organization_id": "organization_id",
    "key_id": "key_id",
    "receipt": "receipt",
    "receipts": "receipt",
    "ids": "event_id",
    "target_url": "url",
}
"""Members of paths, queries and bodies that name something of one organization, and what."""

NARROWER: Final = {
    ("/api/listen/", "subscription_id"): "session_id",
    ("/api/inboxes/", "name"): "inbox_name",
    ("/api/event-types/", "name"): "type_name",
    ("/api/quarantine/", "event_id"): "aside_id",
    ("/api/inbox", "receipts"): "inbox_receipt",
    ("/api/dead-letters/", "ids"): "delivery_id",
}
"""Where the same name stands for some of them only: the beginning of the path, and the member."""

NAMES: Final = {"event_type"}
"""Members of paths that everybody may name: the answer is about the asker's own."""

NOT_OURS: Final = {
    "operator_key_id": "of no organization",
    "entry_id": "of an operator's list",
    "dedup_id": "a producer's own, and unique in its organization",
    "id": "of a CloudEvent: a producer's own",
}
"""Members that sound like ids and name nothing of ours."""

CREATED_BY: Final = {
    "POST /api/hooks": "what is subscribed need not be anybody's yet",
    "PUT /api/inboxes/{name}": "everybody has names of their own",
    "PUT /api/event-types/{name}": "everybody has names of their own",
}
"""Routes whose members are no reference to what is there."""

_SOUNDS_LIKE_AN_ID: Final = re.compile(r"(^|_)ids?$|^receipts?$|^target_url$")
_VALUES: Final[Mapping[str, Any]] = {
    "url": "http://127.0.0.1:9/",
    "target_url": "http://127.0.0.1:9/",
    "wait_s": 0,
    "name": "made",
    "event_types": ["*"],
    "dry_run": True,
    "status_code": 200,
    "receipt": "nonsense",
    "to": "start",
    "ids": ["evt_nothing"],
}
_INSTEAD_OF: Final = {"receipts": "ids"}
"""Members of which there may be only one."""
_OF_A_TYPE: Final[Mapping[str, Any]] = {
    "string": "x", "integer": 1, "number": 1, "boolean": True, "null": None,
}  # fmt: skip

Schema = Mapping[str, Any]
Pointer = tuple[str, ...]


class UnknownKind(AssertionError):
    """A member whose name sounds like an id, of which nobody has said what it names."""


class Asked(NamedTuple):
    """A request with somebody's ids: ``where`` they are, and all that is to be sent."""

    where: str
    method: str
    path: str
    body: Any

    @property
    def route(self) -> str:
        """For messages."""
        return f"{self.method} {self.path}"


class Route(NamedTuple):
    """A route of the document."""

    method: str
    path: str
    in_path: tuple[str, ...]
    in_query: tuple[str, ...]
    body: Schema | None

    @property
    def name(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"

    @property
    def is_list(self) -> bool:
        """Whether it gives out cursors."""
        return "cursor" in self.in_query

    @property
    def is_operators(self) -> bool:
        """Whether it is for operators' keys."""
        return self.path.startswith("/api/admin/")


class Document:
    """The OpenAPI document."""

    def __init__(self, document: Schema) -> None:
        self._document = document

    def routes(self) -> Iterator[Route]:
        """All of them."""
        for path, item in self._document["paths"].items():
            for method, operation in item.items():
                named = [self._whole(each) for each in operation.get("parameters", ())]
                contents = operation.get("requestBody", {}).get("content", {})
                json = contents.get("application/json", {}).get("schema")
                yield Route(
                    method.upper(),
                    path,
                    tuple(each["name"] for each in named if each["in"] == "path"),
                    tuple(each["name"] for each in named if each["in"] == "query"),
                    None if json is None else self._whole(json),
                )

    def asked(
        self, route: Route, own: Mapping[str, str], ids: Mapping[str, str]
    ) -> Iterator[Asked]:
        """Requests to a route with somebody's ``ids``, each in one place where the route takes one.

        Where a path takes several, one at a time, and the others are ``own``.
        """
        for name in route.in_path:
            kind = _kind(name, of=route)
            if kind is not None:
                yield self.request(route, f"path {name}", own, {name: ids[kind]})
        for name in route.in_query:
            kind = _kind(name, of=route)
            if kind is not None:
                value = quote(ids[kind], safe="")
                asked = self.request(route, f"query {name}", own, {})
                yield asked._replace(path=f"{asked.path}?{name}={value}")
        for pointer in self._members(route.body or {}):
            kind = _kind(pointer[-1] if pointer[-1] != "*" else pointer[-2], of=route)
            if kind is not None:
                body = self._sample(route.body or {}, pointer, ids[kind])
                yield self.request(route, f"body {'/'.join(pointer)}", own, {})._replace(body=body)

    def request(
        self, route: Route, where: str, own: Mapping[str, str], given: Mapping[str, str]
    ) -> Asked:
        """A request that is acceptable, with these parameters of the path."""

        def value(name: str) -> str:
            return quote(given.get(name) or own[_kind(name, of=route) or name], safe="")

        path = re.sub(r"\{(\w+)\}", lambda found: value(found[1]), route.path)
        body = None if route.body is None else self._sample(route.body)
        return Asked(where, route.method, path, body)

    def _whole(self, schema: Schema) -> Schema:
        """A schema without a reference, and without the alternative of ``null``."""
        while "$ref" in schema:
            found: Any = self._document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            schema = found
        for choice in ("oneOf", "anyOf"):
            some = [each for each in schema.get(choice, ()) if each.get("type") != "null"]
            if some:
                return self._whole(some[0])
        return schema

    def _members(self, schema: Schema, depth: int = 4) -> Iterator[Pointer]:
        """Where in a body something sounds like an id; ``*`` is an item of an array."""
        schema = self._whole(schema)
        if not depth:
            return
        if schema.get("type") == "array":
            for pointer in self._members(schema.get("items", {}), depth - 1):
                yield ("*", *pointer)
        for name, member in schema.get("properties", {}).items():
            whole = self._whole(member)
            if _SOUNDS_LIKE_AN_ID.search(name):
                yield (name, "*") if whole.get("type") == "array" else (name,)
            else:
                for pointer in self._members(whole, depth - 1):
                    yield (name, *pointer)

    def _sample(self, schema: Schema, pointer: Pointer = (), chosen: Any = None) -> Any:  # noqa: ANN401 - JSON
        """The least that a schema takes, with a value at one place."""
        schema = self._whole(schema)
        kind = schema.get("type")
        if kind == "array":
            return [self._sample(schema.get("items", {}), pointer[1:], chosen)]
        if kind == "object" or "properties" in schema:
            members = schema.get("properties", {})
            wanted = {
                name for name in members if name in schema.get("required", ()) or name in _VALUES
            }
            if pointer:
                wanted.add(pointer[0])
                wanted.discard(_INSTEAD_OF.get(pointer[0], ""))
            return {
                name: self._member(members[name], name, pointer, chosen)
                for name in members
                if name in wanted
            }
        if pointer == () and chosen is not None:
            return chosen
        if "enum" in schema:
            return schema["enum"][0]
        if schema.get("format") == "date-time":
            return "2100-01-01T00:00:00Z"
        return _OF_A_TYPE.get(str(kind), "x")

    def _member(self, schema: Schema, name: str, pointer: Pointer, chosen: Any) -> Any:  # noqa: ANN401 - JSON
        if pointer and pointer[0] == name:
            if len(pointer) == 1:
                return chosen
            if pointer[1:] == ("*",):
                return [chosen]
            return self._sample(schema, pointer[1:], chosen)
        return _VALUES[name] if name in _VALUES else self._sample(schema)


def _kind(name: str, *, of: Route) -> str | None:
    """What a member names, ``None`` for nothing of one organization.

    Raises:
        UnknownKind: nobody has said it.
    """
    if of.name in CREATED_BY:
        return None
    for (path, member), kind in NARROWER.items():
        if member == name and of.path.startswith(path):
            return kind
    if name in OURS:
        return OURS[name]
    if name in NAMES or name in NOT_OURS:
        return None
    if name in of.in_path or _SOUNDS_LIKE_AN_ID.search(name):
        raise UnknownKind(
            f"{of.name}: what is {name!r} the id of? Say so in tests/http/everyroute.py"
        )
    return None


def unsaid(routes: Sequence[Route], document: Document, ids: Mapping[str, str]) -> list[str]:
    """The members of which nobody has said what they name."""
    found = []
    for route in routes:
        try:
            list(document.asked(route, ids, ids))
        except UnknownKind as error:
            found.append(str(error))
    return found
