"""The workflow in ``examples/n8n``: its shape, its program, and its requests to the service.

n8n itself is not run here. What its nodes hold is: the program that checks signatures, on what the
service really sends; and each request, made with what its expressions come to.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any, Final

import pytest
from tests.external.conftest import Program

from triggers_api.testing import Received, Receiver, Service

WORKFLOW: Final = Path(__file__).resolve().parents[2] / "examples" / "n8n" / "workflow.json"
HARNESS: Final = Path(__file__).with_name("n8n.mjs")
KNOWN: Final = {
    "code", "httpRequest", "if", "manualTrigger", "respondToWebhook", "set", "webhook",
}  # fmt: skip


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(WORKFLOW.read_text())
    return found


def nodes(workflow: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {
        each["name"]: each["parameters"]
        for each in workflow["nodes"]
        if each["type"] == f"n8n-nodes-base.{kind}"
    }


def settings(workflow: dict[str, Any], name: str) -> dict[str, str]:
    return {
        each["name"]: each["value"]
        for each in nodes(workflow, "set")[name]["assignments"]["assignments"]
    }


def in_n8n(program: Program, **given: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """What expressions and a program of nodes come to."""
    done = subprocess.run(
        [program("node"), str(HARNESS)],
        input=json.dumps(given).encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_workflow_has_the_shape_that_n8n_imports(workflow: dict[str, Any]) -> None:
    assert {"name", "nodes", "connections", "settings", "active"} <= set(workflow)
    assert workflow["active"] is False
    names = [each["name"] for each in workflow["nodes"]]
    assert len(set(names)) == len(names)
    assert len({each["id"] for each in workflow["nodes"]}) == len(names)
    for each in workflow["nodes"]:
        assert each["type"].removeprefix("n8n-nodes-base.") in KNOWN
        assert isinstance(each["typeVersion"], int | float)
        assert [type(number) for number in each["position"]] == [int, int]
    led_to = set()
    for source, outputs in workflow["connections"].items():
        assert source in names
        for branch in outputs["main"]:
            for target in branch:
                assert set(target) == {"node", "type", "index"}
                assert target["node"] in names
                led_to.add(target["node"])
    begins = set(nodes(workflow, "webhook")) | set(nodes(workflow, "manualTrigger"))
    assert led_to | begins == set(names)


def test_no_secret_and_no_key_is_in_the_workflow(workflow: dict[str, Any]) -> None:
    assert "credentials" not in WORKFLOW.read_text()
    for name in nodes(workflow, "set"):
        assert settings(workflow, name)["secret"] == "whsec_"


async def delivered(folder: Path) -> tuple[Received, str, str]:
    """A delivery to a hook, the hook's secret, and the event's id."""
    async with Receiver() as receiver, Service(folder) as service:
        body = {"target_url": receiver.url, "event": "order.*"}
        hook = await service.call("POST", "/api/hooks", body)
        event = await service.send("order.created", {"total": 99.5, "name": "Zoë"})
        (request,) = await receiver.wait_for(1)
        return request, hook.json["secret"], event.json["id"]


def test_the_signature_check_takes_what_the_service_sends_and_nothing_else(
    program: Program, workflow: dict[str, Any], tmp_path: Path
) -> None:
    program("node")
    request, secret, event_id = asyncio.run(delivered(tmp_path))
    (code,) = (each["jsCode"] for each in nodes(workflow, "code").values())

    def checked(body: bytes = request.body, *, key: str = secret, **headers: str) -> dict[str, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        arrives = {
            "json": {"headers": request.headers | named},
            # As its Webhook node hands a raw body over.
            "binary": {"data": {"data": b64encode(body).decode(), "mimeType": "application/json"}},
        }
        given = {"Settings": {"json": {"secret": key}}, "Event arrives": arrives}
        (item,) = in_n8n(program, code=code, nodes=given)["returned"]
        found: dict[str, Any] = item["json"]
        return found

    good = checked()
    assert good["valid"] is True
    assert (good["event"]["id"], good["event"]["name"]) == (event_id, "Zoë")
    signature = request.headers["webhook-signature"]
    assert checked(webhook_signature=f"v1,AAAA {signature}")["valid"] is True
    for bad in (
        checked(request.body.replace(b"99.5", b"99.6")),
        checked(key="whsec_" + b64encode(b"another secret of 32 characters!").decode()),
        checked(key="whsec_"),
        checked(webhook_timestamp="1700000000"),
        checked(webhook_id="evt_other"),
        checked(webhook_signature=""),
        checked(webhook_signature="v1,"),
        checked(webhook_signature=signature.replace("v1,", "v2,")),
    ):
        assert bad == {"valid": False, "event": None}


def test_each_request_of_the_workflow_is_taken_by_the_service(
    program: Program, workflow: dict[str, Any], tmp_path: Path
) -> None:
    program("node")
    given = settings(workflow, "Settings of the hook") | {"target_url": "http://127.0.0.1:9/hook"}

    def request(name: str, item: dict[str, Any]) -> tuple[str, str, bytes | None]:
        node = nodes(workflow, "httpRequest")[name]
        assert (node["authentication"], node["genericAuthType"]) == (
            "genericCredentialType",
            "httpHeaderAuth",
        )
        expressions = {"url": node["url"]}
        if "jsonBody" in node:
            expressions["body"] = node["jsonBody"]
        for each in node.get("queryParameters", {}).get("parameters", ()):
            expressions[f"?{each['name']}"] = each["value"]
        values = in_n8n(
            program, expressions=expressions, json=item, nodes={"Settings": {"json": given}}
        )["values"]
        path = values["url"].removeprefix(given["server"])
        query = "&".join(f"{key[1:]}={value}" for key, value in values.items() if key[0] == "?")
        body = values["body"].encode() if "body" in values else None
        return node["method"], f"{path}?{query}" if query else path, body

    async def main() -> None:
        async with Service(tmp_path) as service:
            before = await service.call(*request("Is there a hook already?", given))
            assert (before.status, before.json["data"]) == (200, [])
            made = await service.call(*request("Subscribe", given))
            assert made.status == 201
            found = await service.call(*request("Is there a hook already?", given))
            assert [each["id"] for each in found.json["data"]] == [made.json["id"]]
            item = {"valid": True, "event": {"id": "evt_1"}}
            for status in (202, 200):
                sent = await service.call(*request("Send an event of our own", item))
                assert sent.status == status
            gone = await service.call(*request("Unsubscribe", given | {"hook_id": made.json["id"]}))
            assert gone.status == 204

    asyncio.run(main())
