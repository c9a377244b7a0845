"""What a row keeps for the service alone, when it cannot be opened."""

from __future__ import annotations

import msgspec

from triggers_api.model.subscription import Subscription, SubscriptionRecord, SubscriptionStatus
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies
from triggers_api.store.cipher import Cipher


def test_a_row_to_which_an_older_process_added_a_secret_is_read_when_its_key_is_lost() -> None:
    """It is one subscription's loss: reading the others' rows goes on."""
    at = Timestamp.parse("2026-11-22T12:00:00.000Z")
    record = SubscriptionRecord(
        organization_id="org_1",
        subscription=Subscription(
            id="sub_1",
            url="https://example.com/hook",
            event_types=("*",),
            status=SubscriptionStatus.ACTIVE,
            created_at=at,
            updated_at=at,
        ),
        secrets=("whsec_c2VjcmV0",),
    )
    (sealed,) = msgspec.json.decode(bodies.private(record, Cipher(b"the key that is lost")))
    read = bodies.subscription_record(
        "org_1",
        bodies.encode(record.subscription),
        bodies.encode(("whsec_bmV3", sealed)),
        Cipher(b"another key"),
        from_organization=False,
    )
    assert (read.secrets, read.sealed) == ((), sealed)
