"""The API's description of itself: OpenAPI, and pages for people without a script or a CDN."""

import html
import inspect
import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources
from typing import Any, Final

import msgspec
from litestar import Litestar, MediaType, Request, Response, Router, get
from litestar._openapi.schema_generation import SchemaCreator
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIType,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.plugins import OpenAPISchemaPlugin
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ControllerRouterHandler
from litestar.typing import FieldDefinition

from triggers_api import __version__, errors
from triggers_api.http.batch import BATCH_PATH
from triggers_api.http.hot import PATH
from triggers_api.http.request import OPTIONAL_BODY
from triggers_api.http.vocabulary import EXAMPLES, FIELDS
from triggers_api.model.timestamp import Timestamp

_SCHEMAS: Final = "#/components/schemas/"
_PARAMETERS: Final = {
    "event_id": "The event.",
    "name": "The event type, or the inbox.",
    "subscription_id": "The subscription.",
    "delivery_id": "The delivery.",
    "job_id": "The job.",
    "hook_id": "The hook.",
    "event_type": "A type of events; `*` is any run of characters.",
    "organization_id": "The organization.",
    "key_id": "The key.",
    "entry_id": "The entry, by its own id or by that of its event.",
    "operator_key_id": "The operator's key.",
    "dedup_id": "Only the event with this one.",
    "status": "Only those in this state.",
}

_CSP: Final = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class OwnTypes(OpenAPISchemaPlugin):
    """Describes the types that Litestar does not know."""

    @staticmethod
    def is_plugin_supported_type(value: Any) -> bool:  # noqa: ANN401 - Litestar's signature
        """Moments, and JSON kept as bytes."""
        return value in {Timestamp, msgspec.Raw}

    def to_openapi_schema(
        self, field_definition: FieldDefinition, schema_creator: SchemaCreator
    ) -> Schema:
        """Moments are date-times; kept JSON may be anything."""
        del schema_creator
        if field_definition.annotation is Timestamp:
            return Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME)
        return Schema(description="Any JSON value, byte for byte as it was received.")


def event_request_body() -> RequestBody:
    """The body of ``POST /api/events``, which no handler parameter shows."""
    return RequestBody(
        required=True,
        content={
            "application/json": OpenAPIMediaType(schema=_event_schema()),
            "application/cloudevents+json": OpenAPIMediaType(schema=_cloudevent_schema()),
        },
    )


def batch_request_body() -> RequestBody:
    """The body of ``POST /api/events/batch``."""
    events = Schema(type=OpenAPIType.ARRAY, items=_event_schema(), min_items=1, max_items=1000)
    wrapped = Schema(
        type=OpenAPIType.OBJECT,
        required=["events"],
        properties={"events": events},
        additional_properties=False,
    )
    lines = Schema(type=OpenAPIType.STRING, description="One event as JSON in each line.")
    cloudevents = Schema(
        type=OpenAPIType.ARRAY, items=_cloudevent_schema(), min_items=1, max_items=1000
    )
    return RequestBody(
        required=True,
        content={
            "application/json": OpenAPIMediaType(schema=Schema(one_of=[wrapped, events])),
            "application/x-ndjson": OpenAPIMediaType(schema=lines),
            "application/cloudevents-batch+json": OpenAPIMediaType(schema=cloudevents),
        },
    )


def _cloudevent_schema() -> Schema:
    text = {"type": "string", "minLength": 1}
    return _as_schema(
        {
            "type": "object",
            "description": "A CloudEvent 1.0 in its JSON format; extensions are kept as metadata.",
            "required": ["specversion", "id", "source", "type"],
            "properties": {
                "specversion": text,
                "id": text,
                "source": text,
                "type": text,
                "subject": text,
                "time": {"type": "string", "format": "date-time"},
                "datacontenttype": text,
                "data": {"description": "Any JSON value, kept byte for byte."},
                "data_base64": text,
            },
        }
    )


def _event_schema() -> Schema:
    text = {"type": "string"}
    moment = {"type": "string", "format": "date-time"}
    return _as_schema(
        {
            "type": "object",
            "required": ["type", "payload"],
            "additionalProperties": False,
            "properties": {
                "type": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 255,
                    "pattern": "^[A-Za-z0-9_.:/-]+$",
                },
                "payload": {"description": "Any JSON value, null included; kept byte for byte."},
                "dedup_id": {"type": "string", "minLength": 1, "maxLength": 512},
                "source": {"type": "string", "minLength": 1, "maxLength": 255},
                "key": {"type": "string", "minLength": 1, "maxLength": 255},
                "occurred_at": moment,
                "deliver_at": moment,
                "metadata": {"type": "object", "additionalProperties": text, "maxProperties": 64},
            },
        }
    )


def _as_schema(raw: dict[str, Any]) -> Schema:
    names = {
        "type": "type",
        "format": "format",
        "description": "description",
        "required": "required",
        "pattern": "pattern",
        "minLength": "min_length",
        "maxLength": "max_length",
        "maxProperties": "max_properties",
    }
    given = {names[name]: value for name, value in raw.items() if name in names}
    if "properties" in raw:
        given["properties"] = {name: _as_schema(part) for name, part in raw["properties"].items()}
    more = raw.get("additionalProperties")
    if more is not None:
        given["additional_properties"] = more if isinstance(more, bool) else _as_schema(more)
    return Schema(**given)


def problem_classes() -> list[type[errors.Problem]]:
    """Every refusal there is, by status and code."""
    found = {
        member
        for _, member in inspect.getmembers(errors, inspect.isclass)
        if issubclass(member, errors.Problem) and member not in {errors.Problem, errors.Unavailable}
    }
    return sorted(found, key=lambda each: (each.status, each.code))


class _NothingElse(Router):
    """Where Litestar puts its own description of the API; all but its page of HTML for a 404."""

    def register(self, value: ControllerRouterHandler) -> list[BaseRoute]:
        """Leave out what would answer under any name below."""
        paths: set[str] = getattr(value, "paths", set())
        return [] if any("{" in path for path in paths) else super().register(value)


@get("/openapi.json", media_type="application/vnd.oai.openapi+json")
async def openapi(request: Request[Any, Any, Any]) -> bytes:
    """OpenAPI 3.1."""
    return _described(request)[0]


@get(["/", "/docs"], media_type=MediaType.HTML)
async def reference(request: Request[Any, Any, Any]) -> Response[str]:
    """Every route."""
    return Response(_described(request)[1], headers=_PAGE_HEADERS, media_type=MediaType.HTML)


@get("/docs/problems", media_type=MediaType.HTML)
async def problems() -> Response[str]:
    """Every error code."""
    return Response(_problems_page(), headers=_PAGE_HEADERS, media_type=MediaType.HTML)


@get("/docs/style.css", media_type="text/css")
async def style() -> bytes:
    """The pages' looks."""
    return (resources.files("triggers_api.http") / "docs.css").read_bytes()


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/", route_handlers=[openapi, reference, problems, style], include_in_schema=False
    )


def openapi_config() -> OpenAPIConfig:
    """What Litestar cannot know by itself."""
    return OpenAPIConfig(
        title="Triggers API",
        version=__version__,
        description="Durable event ingestion and webhook delivery.",
        openapi_router=_NothingElse("/docs/openapi", route_handlers=[], include_in_schema=False),
        render_plugins=[JsonRenderPlugin()],
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer"),
                "key": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
            }
        ),
        security=[{"bearer": []}, {"key": []}],
    )


@cache
def _pages(document: bytes) -> str:
    return _reference_page(json.loads(document))


def _described(request: Request[Any, Any, Any]) -> tuple[bytes, str]:
    document = msgspec.json.encode(described(request.app))
    return document, _pages(document)


def described(app: Litestar) -> dict[str, Any]:
    """The OpenAPI document: Litestar's, with what it does not know or has wrong."""
    document: dict[str, Any] = app.openapi_schema.to_schema()
    schemas = document["components"]["schemas"]
    schemas["Problem"] = _problem_schema()
    for name, schema in schemas.items():
        _describe_objects(name, schema)
    paths = document["paths"]
    # No parameter of a handler shows them: these routes read their bodies themselves.
    paths[PATH]["post"]["requestBody"] = event_request_body().to_schema()
    paths[BATCH_PATH]["post"]["requestBody"] = batch_request_body().to_schema()
    optional = {
        (method.lower(), route.path_format)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if OPTIONAL_BODY in handler.opt
        for method in handler.http_methods
    }
    for path, item in paths.items():
        for method, operation in item.items():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in _PARAMETERS:
                    parameter.setdefault("description", _PARAMETERS[parameter["name"]])
            if body := operation.get("requestBody"):
                body["required"] = (method, path) not in optional
                for content in body["content"].values():
                    _describe_objects("", content["schema"])
                if (method, path) in EXAMPLES:
                    body["content"]["application/json"]["example"] = EXAMPLES[method, path]
            answers = operation["responses"]
            answers.pop("400", None)  # in another shape than all refusals have
            answers["default"] = {
                "description": "A refusal.",
                "content": {"application/problem+json": {"schema": {"$ref": _SCHEMAS + "Problem"}}},
            }
    return document


def _describe_objects(name: str, schema: dict[str, Any]) -> None:
    """The fields of a schema, and of those in it that have no name of their own."""
    for field, part in schema.get("properties", {}).items():
        _describe(name, field, part)
        _describe_objects("", part)
    for part in (*schema.get("oneOf", ()), *([schema["items"]] if "items" in schema else ())):
        _describe_objects("", part)


def _describe(schema: str, field: str, part: dict[str, Any]) -> None:
    known = FIELDS.get(f"{schema}.{field}") or FIELDS.get(field)
    if known is not None:
        part.setdefault("description", known)
    if field.endswith("_at") or field in {"since", "until"}:
        for kind in (part, *part.get("oneOf", ())):
            if kind.get("type") == "string":
                kind["format"] = "date-time"


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    properties: dict[str, Any] = {
        **{name: dict(text) for name in ("type", "title", "detail", "code", "request_id")},
        "status": {"type": "integer"},
        "retryable": {"type": "boolean"},
        "errors": {"type": "array", "items": {"$ref": _SCHEMAS + "FieldError"}},
    }
    return {
        "type": "object",
        "title": "Problem",
        "description": "Every refusal, by RFC 9457.",
        "properties": properties,
        "required": [name for name in properties if name != "errors"],
    }


def _page(title: str, body: Iterable[str]) -> str:
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
            '<link rel="stylesheet" href="/docs/style.css"></head><body><main>',
            f"<h1>{html.escape(title)}</h1>",
            '<p><a href="/docs">Routes</a> · <a href="/docs/problems">Problems</a> · '
            '<a href="/openapi.json">openapi.json</a></p>',
            *body,
            "</main></body></html>",
        )
    )


def _problems_page() -> str:
    def rows() -> Iterator[str]:
        yield "<p>Every refusal is <code>application/problem+json</code> (RFC 9457). "
        yield "Its <code>code</code> is stable; <code>retryable</code> says whether the same "
        yield "request may succeed later.</p>"
        yield "<table><thead><tr><th>Status</th><th>Code</th><th>Meaning</th><th>Retry</th></tr>"
        yield "</thead><tbody>"
        for each in problem_classes():
            meaning = html.escape((each.__doc__ or each.title).splitlines()[0])
            yield (
                f'<tr id="{each.code}"><td>{each.status}</td><td><code>{each.code}</code></td>'
                f"<td>{meaning}</td><td>{'yes' if each.retryable else 'no'}</td></tr>"
            )
        yield "</tbody></table>"

    return _page("Problems", rows())


def _reference_page(document: dict[str, Any]) -> str:
    return _page("Triggers API", _routes(document))


def _routes(document: dict[str, Any]) -> Iterator[str]:
    by_tag: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = (operation.get("tags") or ["Other"])[0]
            by_tag.setdefault(tag, []).append((path, method.upper(), operation))
    for tag, operations in by_tag.items():
        yield f"<h2>{html.escape(tag)}</h2>"
        for path, method, operation in sorted(operations, key=lambda each: each[0]):
            yield from _operation(path, method, operation)
    yield "<h2>Objects</h2>"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f'<section id="{html.escape(name)}"><h3>{html.escape(name)}</h3>'
        if schema.get("description"):
            yield f"<p>{html.escape(schema['description'])}</p>"
        yield from _fields(schema)
        yield "</section>"


def _operation(path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
    yield "<section>"
    yield f"<h3><b>{method}</b> <code>{html.escape(path)}</code></h3>"
    yield f"<p>{html.escape(operation.get('summary', ''))}. "
    yield f"{html.escape(operation.get('description', ''))}</p>"
    parameters = operation.get("parameters", [])
    if parameters:
        yield "<ul>"
        for parameter in parameters:
            yield (
                f"<li><code>{html.escape(parameter['name'])}</code> ({parameter['in']}) "
                f"{_type_of(parameter.get('schema', {}))} "
                f"{html.escape(parameter.get('description') or '')}</li>"
            )
        yield "</ul>"
    for body in operation.get("requestBody", {}).get("content", {}).values():
        yield f"<p>Body: {_type_of(body.get('schema', {}))}</p>"
        yield from _fields(body.get("schema", {}))
    for status, answer in sorted(operation.get("responses", {}).items()):
        kinds = [_type_of(each.get("schema", {})) for each in answer.get("content", {}).values()]
        yield f"<p>{status}: {' '.join(kinds) or html.escape(answer.get('description', ''))}</p>"
    yield "</section>"


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    properties = schema.get("properties")
    if not properties:
        return
    required = set(schema.get("required", ()))
    yield "<ul>"
    for name, part in properties.items():
        star = " (required)" if name in required else ""
        yield (
            f"<li><code>{html.escape(name)}</code>{star} {_type_of(part)} "
            f"{html.escape(part.get('description') or '')}</li>"
        )
    yield "</ul>"


def _type_of(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = html.escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return " or ".join(_type_of(each) for each in schema[choice])
    if "enum" in schema:
        return " · ".join(f"<code>{html.escape(str(each))}</code>" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type_of(schema.get('items', {}))}"
    kind = schema.get("type", "any")
    shown = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return html.escape(f"{shown} ({schema['format']})" if "format" in schema else shown)
