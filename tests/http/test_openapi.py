"""What the API says about itself is valid, complete, true, and fetches nothing from elsewhere."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine, Iterator
from html import unescape
from html.parser import HTMLParser
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from tests.conftest import Run, new_organization, own_organization

from triggers_api import __version__, errors
from triggers_api.http.vocabulary import EXAMPLES, FIELDS
from triggers_api.testing import ADMIN_KEY, API_KEY, Receiver, Service

PAGES: Final = ("/", "/docs", "/docs/problems")


@pytest.fixture(scope="module")
def document(service: Service, run: Run) -> dict[str, Any]:
    answer = run(service.call("GET", "/openapi.json", key=None))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/vnd.oai.openapi+json"
    found: dict[str, Any] = answer.json
    return found


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert document["info"]["version"] == __version__
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_every_operation_has_a_name_of_its_own_words_and_answers(document: dict[str, Any]) -> None:
    names = set()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["operationId"] not in names
            names.add(operation["operationId"])
            assert operation["summary"], path
            assert operation["description"], path
            assert any(status.startswith("2") for status in operation["responses"]), (method, path)


def test_who_needs_no_key_is_documented_so(document: dict[str, Any]) -> None:
    public = {"/health", "/api/health", "/livez", "/readyz", "/health/ready", "/metrics"}
    for path, item in document["paths"].items():
        for operation in item.values():
            required = operation.get("security", document.get("security"))
            assert ({} in required) is (path in public), path


def faults(document: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    """Why a value is not as a schema of the document says."""
    whole = schema | {"components": document["components"]}
    return [fault.message for fault in Draft202012Validator(whole).iter_errors(value)]


Call = Callable[..., Coroutine[Any, Any, Any]]


def documented(service: Service, document: dict[str, Any]) -> Call:
    """Makes a request whose answer has to be as the document says; what it answers."""

    async def call(method: str, path: str, key: str = API_KEY, body: object = None, **ids: str
                   ) -> Any:  # fmt: skip # noqa: ANN401 - JSON
        answer = await service.call(method, path.format(**ids), body, key=key)
        path = path.partition("?")[0]
        responses = document["paths"][path][method.lower()]["responses"]
        content = responses[str(answer.status)].get("content", {})
        if not content:
            assert answer.body == b""
            return None
        ((media_type, described),) = content.items()
        assert answer.headers["content-type"].startswith(media_type)
        assert faults(document, described["schema"], answer.json) == [], (method, path)
        return answer.json

    return call


def test_answers_are_as_documented(  # noqa: PLR0915 - one call after the other
    service: Service, run: Run, document: dict[str, Any], receiver: Receiver
) -> None:
    receiver.replies(500, 204)

    call = documented(service, document)

    async def main() -> None:
        subscription = await call(
            "POST", "/api/subscriptions", body={"url": receiver.url, "event_types": ["*"]}
        )
        plain = {"type": "a", "payload": {"n": 1}, "dedup_id": "openapi"}
        event = await call("POST", "/api/events", body=plain)
        await call("POST", "/api/events", body=plain)
        full = {
            "source": "s",
            "key": "k",
            "metadata": {"a": "b"},
            "deliver_at": "2030-01-01T00:00:00Z",
        }
        await call("POST", "/api/events", body={"type": "a", "payload": None} | full)
        await service.drain()
        await call("GET", "/api/events")
        detail = await call("GET", "/api/events/{event_id}", event_id=event["id"])
        delivery = detail["deliveries"][0]["id"]
        for path in ("/api/subscriptions", "/api/deliveries", "/api/dead-letters"):
            await call("GET", path)
        await call("GET", "/api/deliveries/{delivery_id}", delivery_id=delivery)
        await call("POST", "/api/deliveries/{delivery_id}/retry", delivery_id=delivery)
        await call("POST", "/api/deliveries/{delivery_id}/cancel", delivery_id=delivery)
        await call("POST", "/api/events/{event_id}/replay", event_id=event["id"])
        for method, path, body in (
            ("POST", "/api/dead-letters/replay", {"dry_run": True, "rate": 1.5}),
            ("DELETE", "/api/dead-letters?all=true", None),
            ("POST", "/api/replays", {"type": "a.*", "since": "2026-01-01T00:00:00Z"}),
        ):
            job = {"job_id": (await call(method, path, body=body))["id"]}
            await call("GET", "/api/jobs/{job_id}", **job)
        await call("GET", "/api/jobs")
        await call("DELETE", "/api/jobs/{job_id}", **job)
        one = {"subscription_id": subscription["id"]}
        await call("GET", "/api/subscriptions/{subscription_id}", **one)
        await call("POST", "/api/subscriptions/{subscription_id}/pause", **one)
        await call("POST", "/api/subscriptions/{subscription_id}/resume", **one)
        await call("POST", "/api/subscriptions/{subscription_id}/rotate-secret", body={}, **one)
        await call("POST", "/api/subscriptions/{subscription_id}/test", body={"payload": 1}, **one)
        await call("GET", "/api/subscriptions/{subscription_id}/stats", **one)
        patch = {
            "expires_at": "2030-01-01T00:00:00Z",
            "retry_schedule": [1.5],
            "metadata": {"a": "b"},
        }
        await call("PATCH", "/api/subscriptions/{subscription_id}", body=patch, **one)
        hook = {"target_url": receiver.url, "event": "a"}
        for _ in range(2):
            await call("POST", "/api/hooks", body=hook)
        await call("GET", "/api/hooks")
        await call("GET", "/api/hooks/samples?event_type=never")
        await call("GET", "/api/poll/{event_type}", event_type="a")
        await call("GET", "/api/organization")
        await call("PATCH", "/api/organization", body={"webhook_url": receiver.url})
        organization = {"organization_id": (await new_organization(service, rate_limit=5))[0]}
        await call("POST", "/api/admin/organizations", ADMIN_KEY, {"name": "made"})
        await call("GET", "/api/admin/organizations", ADMIN_KEY)
        await call("GET", "/api/admin/organizations/{organization_id}", ADMIN_KEY, **organization)
        await call(
            "PATCH", "/api/admin/organizations/{organization_id}", ADMIN_KEY, {}, **organization
        )
        keys = "/api/admin/organizations/{organization_id}/keys"
        await call(
            "POST",
            keys,
            ADMIN_KEY,
            {"name": "k", "expires_at": "2030-01-01T00:00:00Z"},
            **organization,
        )
        await call("GET", keys, ADMIN_KEY, **organization)
        await call("PATCH", "/api/admin/controls", ADMIN_KEY, {"reason": "r"})
        await call("GET", "/api/admin/controls", ADMIN_KEY)
        await call("GET", "/api/admin/verify", ADMIN_KEY)
        for path in ("/health", "/api/health", "/livez", "/readyz", "/health/ready"):
            await call("GET", path)
        await call("GET", "/api/health/detailed")
        assert await own_organization(service)

    run(main())


def test_answers_about_event_types_are_as_documented(
    service: Service, run: Run, document: dict[str, Any]
) -> None:
    call = documented(service, document)

    async def main() -> None:
        event_type = {
            "description": "An order",
            "schema": {"type": "object"},
            "mode": "quarantine",
            "example": {"a": 1},
            "redact": ["/b"],
        }
        for _ in range(2):
            await call("PUT", "/api/event-types/{name}", body=event_type, name="kept")
        await call("GET", "/api/event-types")
        await call("GET", "/api/event-types/{name}", name="kept")
        for key, place in ((API_KEY, "/api"), (ADMIN_KEY, "/api/admin")):
            aside = [
                (await service.send("kept", 1)).json["id"],
                (await service.send("kept", 1)).json["id"],
            ]
            await call("GET", f"{place}/quarantine", key)
            await call("POST", f"{place}/quarantine/{{event_id}}/release", key, event_id=aside[0])
            await call("DELETE", f"{place}/quarantine/{{event_id}}", key, event_id=aside[1])
        await call("DELETE", "/api/event-types/{name}", name="kept")

    run(main())


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────


def codes() -> dict[str, type[errors.Problem]]:
    """Every code a problem can carry."""
    found = {}
    for _, member in inspect.getmembers(errors, inspect.isclass):
        if issubclass(member, errors.Problem) and member not in {
            errors.Problem,
            errors.Unavailable,
        }:
            found[member.code] = member
    return found


def test_every_error_code_is_explained_under_the_address_in_its_type(
    service: Service, run: Run
) -> None:
    page = run(service.call("GET", "/docs/problems", key=None)).body.decode()
    assert len(codes()) >= 20
    for code, kind in codes().items():
        (row,) = re.findall(rf'<tr id="{code}">.*?</tr>', unescape(page))
        assert f"<td>{kind.status}</td>" in row
        assert (kind.__doc__ or "").splitlines()[0][:20] in row


class Fetched(HTMLParser):
    """What a browser would load, follow or run."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in {"href", "src", "action", "srcset", "data", "poster"}:
                self.addresses.append(value or "")
            if name == "id":
                assert value not in self.ids
                self.ids.add(value or "")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_strict_about_what_it_loads_and_loads_nothing_from_elsewhere(
    service: Service, run: Run, page: str
) -> None:
    answer = run(service.call("GET", page, key=None))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    text = answer.body.decode()
    assert not re.search(r"https?://", text)
    assert "//" not in re.sub(r"</?[a-z]", "", text).replace("application//", "")
    found = Fetched()
    found.feed(text)
    assert not found.tags & {"script", "iframe", "object", "embed", "form", "style", "img", "base"}
    assert not {name for name in found.attributes if name.startswith("on")} | (
        found.attributes & {"style"}
    )
    for address in found.addresses:
        assert address.startswith(("/docs", "/openapi.json", "#")), address
        if address.startswith("#"):
            assert address[1:] in found.ids
        else:
            assert run(service.call("GET", address, key=None)).status == 200


def test_no_content_type_says_its_charset_twice(service: Service, run: Run) -> None:
    for path in (*PAGES, "/docs/style.css", "/openapi.json", "/metrics", "/health", "/nowhere"):
        content_type = run(service.call("GET", path, key=None)).headers["content-type"]
        assert content_type.count("charset") <= 1, path
        assert content_type.startswith("text/") is ("charset=utf-8" in content_type), path


def test_the_reference_names_every_route(
    service: Service, run: Run, document: dict[str, Any]
) -> None:
    page = run(service.call("GET", "/docs", key=None)).body.decode()
    for path, item in document["paths"].items():
        for method in item:
            assert f"<b>{method.upper()}</b> <code>{path}</code>" in page


# ── what each thing means ─────────────────────────────────────────────────────────────────────────


def fields(name: str, schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every field of a schema and of those in it, with the name of the object it belongs to."""
    for field, part in schema.get("properties", {}).items():
        yield name, field, part
        yield from fields("", part)
    for part in (*schema.get("oneOf", ()), *([schema["items"]] if "items" in schema else ())):
        yield from fields("", part)


def all_fields(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, schema in document["components"]["schemas"].items():
        yield from fields(name, schema)
    for item in document["paths"].values():
        for operation in item.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                yield from fields("", content["schema"])


def test_every_field_and_parameter_says_what_it_is(document: dict[str, Any]) -> None:
    silent = [
        f"{name}.{field}"
        for name, field, part in all_fields(document)
        if not part.get("description")
    ]
    silent += [
        f"{method} {path} {parameter['name']}"
        for path, item in document["paths"].items()
        for method, operation in item.items()
        for parameter in operation.get("parameters", ())
        if not parameter.get("description")
    ]
    assert silent == []


def test_no_word_is_kept_for_what_is_not_there(document: dict[str, Any]) -> None:
    named = [(name, field) for name, field, _ in all_fields(document)]
    known = {f"{name}.{field}" for name, field in named} | {field for _, field in named}
    assert set(FIELDS) - known == set()


def test_every_body_has_an_example_that_is_as_its_schema_says(document: dict[str, Any]) -> None:
    found = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                found[method, path] = content["example"]
                assert faults(document, content["schema"], content["example"]) == [], path
    assert found == EXAMPLES


def test_a_body_is_required_where_it_is_and_refusals_are_as_documented(
    service: Service, run: Run, document: dict[str, Any]
) -> None:
    nobodys = "0" * 32
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if "requestBody" not in operation:
                continue
            key = ADMIN_KEY if path.startswith("/api/admin/") else API_KEY
            answer = run(service.call(method.upper(), re.sub(r"{\w+}", nobodys, path), key=key))
            required = operation["requestBody"]["required"]
            assert (answer.status in {400, 415}) is required, (method, path, answer.status)
            if answer.status >= 400:
                ((media_type, content),) = operation["responses"]["default"]["content"].items()
                assert answer.headers["content-type"] == media_type
                assert faults(document, content["schema"], answer.json) == []
    answer = run(service.call("POST", "/api/subscriptions", {"url": "", "event_types": [1]}))
    schema = {"$ref": "#/components/schemas/Problem"}
    assert (answer.status, faults(document, schema, answer.json)) == (422, [])
