"""What stands above every page while the service does not work as usual."""

from __future__ import annotations

import pytest
from tests.conftest import Run
from tests.web.conftest import Browser

from triggers_api.testing import ADMIN_KEY, Service


@pytest.mark.parametrize(
    ("turned", "said"),
    [
        ({"ingest": "refuse"}, "Events are refused."),
        ({"ingest": "sync"}, "Sync mode."),
        ({"processing": "paused"}, "Routing is paused."),
        ({"delivery": "paused"}, "Delivery is paused."),
        ({"delivery": "skip"}, "Deliveries are skipped."),
    ],
)
def test_a_switch_that_is_turned_is_told_to_all_and_its_reason_to_operators(
    run: Run,
    service: Service,
    operator: Browser,
    member: Browser,
    turned: dict[str, str],
    said: str,
) -> None:
    (switch,) = turned
    body = {**turned, "reason": "The database moves <b>"}
    run(service.call("PATCH", "/api/admin/controls", body, key=ADMIN_KEY))
    seen, told = run(operator.get("/ui/")).body.decode(), run(member.get("/ui/")).body.decode()
    run(service.call("PATCH", "/api/admin/controls", {switch: None}, key=ADMIN_KEY))
    assert said in seen
    assert said in told
    assert "The database moves &lt;b&gt;" in seen
    assert "The database moves" not in told
    assert said not in run(operator.get("/ui/")).body.decode()
