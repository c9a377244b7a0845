"""Who made a request is who the audit log names, with the address that the request came from."""

from __future__ import annotations

from tests.conftest import Run

from triggers_api.testing import Service


def test_a_change_is_written_down_with_the_key_and_the_address_that_made_it(
    run: Run, service: Service
) -> None:
    body = {"url": "http://127.0.0.1:9/", "event_types": ["*"]}
    made = run(service.call("POST", "/api/subscriptions", body))
    assert made.status == 201
    entry = run(service.call("GET", "/api/audit")).json["data"][0]
    assert entry["action"] == "subscription.created"
    assert entry["actor"]["type"] == "key"
    assert entry["actor"]["key_id"].startswith("key_")
    assert entry["actor"]["address"] == "127.0.0.1"
    assert entry["actor"]["request_id"] == made.headers["x-request-id"]
