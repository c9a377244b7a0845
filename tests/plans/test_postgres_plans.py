"""Every statement of PostgreSQL's finds its rows by the index that was made for it.

Asked in two databases with tens of thousands of rows: one that was never analyzed, as the product's is
until the server comes round to it, and the same one analyzed. In each for the plan that fits any values
and for one that fits given values: the server chooses between them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import asyncpg
import pytest
from tests.conftest import Run
from tests.servers.postgres import Postgres

from triggers_api.store.postgres.connection import SESSION
from triggers_api.store.postgres.tables import SQL

ROWS: Final = 50_000
SUBSCRIPTIONS: Final = 500
ORGANIZATIONS: Final = 20

BIG: Final = (
    "events", "event_queue", "event_states", "deliveries", "delivery_queue", "dead_letters",
    "attempts", "inbox_items", "search_parts", "search_blocks",
)  # fmt: skip


def _uuid(kind: int, number: str) -> str:
    return f"('01a20320-{kind:04}-7000-8000-' || lpad(to_hex({number}), 12, '0'))::uuid"


ORGANIZATION: Final = _uuid(0, f"1 + i % {ORGANIZATIONS}")
EVENT: Final = _uuid(1, "i")
DELIVERY: Final = _uuid(2, "i")
SUBSCRIPTION: Final = _uuid(3, f"i % {SUBSCRIPTIONS}")

_LEASE: Final = "i % 3, CASE WHEN i % 3 > 0 THEN 1::bigint << 40 ELSE 0 END"
_FILL: Final = {
    "organizations": (ORGANIZATIONS, "id, body, version", f"{ORGANIZATION}, '{{}}', i"),
    "subscriptions": (
        SUBSCRIPTIONS,
        "organization_id, id, state, expires_at, body, secrets, from_organization, version",
        f"{ORGANIZATION}, {SUBSCRIPTION}, i % 3, CASE WHEN i % 5 = 0 THEN i END, '{{}}', '[]',"
        " false, i",
    ),
    "events": (
        ROWS,
        "organization_id, id, type, dedup_id, payload",
        f"{ORGANIZATION}, {EVENT}, 'order.created', CASE WHEN i % 2 = 0 THEN 'd' || i END, 'null'",
    ),
    "event_queue": (
        ROWS,
        "organization_id, event_id, due_at, lease_until, lease_token",
        f"{ORGANIZATION}, {EVENT}, i, {_LEASE}",
    ),
    "event_states": (
        ROWS,
        "organization_id, event_id, status, status_at",
        f"{ORGANIZATION}, {EVENT}, 1 + i % 6, i",
    ),
    "deliveries": (
        ROWS,
        "organization_id, id, event_id, subscription_id, origin, origin_id, status, status_at,"
        " attempt_count, attempt_base",
        f"{ORGANIZATION}, {DELIVERY}, {EVENT}, {SUBSCRIPTION}, 0,"
        " '00000000-0000-0000-0000-000000000000', 2 + i % 7, i, 1, 0",
    ),
    "delivery_queue": (
        ROWS,
        "organization_id, delivery_id, subscription_id, due_at, priority, lease_until, lease_token",
        f"{ORGANIZATION}, {DELIVERY}, {SUBSCRIPTION}, i, i / 3 % 2, {_LEASE}",
    ),
    "search_parts": (
        ROWS // 10,
        "organization_id, number, first_id, last_id, bits, whole, ids, stale_at",
        f"{ORGANIZATION}, i, {_uuid(1, 'i * 10')}, {_uuid(1, 'i * 10 + 9')}, 4, '', '',"
        " CASE WHEN i % 100 = 0 THEN i END",
    ),
    "search_blocks": (
        ROWS,
        "organization_id, part, number, body",
        f"{ORGANIZATION}, i / 10, i % 10, 'x'",
    ),
    "search_progress": (
        ORGANIZATIONS,
        "organization_id, xid, event_id, parts",
        f"{ORGANIZATION}, '700', '01a20320-0001-7000-8000-000000000007', 250",
    ),
    "dead_letters": (
        ROWS,
        "organization_id, delivery_id, subscription_id, error_class",
        f"{ORGANIZATION}, {DELIVERY}, {SUBSCRIPTION}, '500'",
    ),
    "attempts": (
        ROWS,
        "organization_id, delivery_id, number, id, started_at, duration_ms",
        f"{ORGANIZATION}, {DELIVERY}, 1, {_uuid(4, 'i')}, i, 1",
    ),
    "inboxes": (
        ORGANIZATIONS,
        "organization_id, name, cursor, position_xid, position_id, created_at",
        f"{ORGANIZATION}, 'default', {_uuid(5, f'i % {ORGANIZATIONS}')}, '0', {EVENT}, i",
    ),
    "inbox_items": (
        ROWS,
        "organization_id, cursor, xid, event_id, available_at, lease_token, receive_count",
        f"{ORGANIZATION}, {_uuid(5, f'i % {ORGANIZATIONS}')}, pg_current_xact_id(), {EVENT},"
        " CASE WHEN i % 5 > 0 THEN i END, 0, 0",
    ),
}

# What a parameter is given where the plan is one for given values: by what it is compared with in the
# statement, or else by its type. A list is asked for its newest page, without a filter.
_COMPARED: Final = (
    (r"\$(\d+)::\w+ IS NULL", "NULL"),
    (r"\bid < \$(\d+)", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"),
    (r"\bdelivery_id < \$(\d+)", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"),
    (r"\bid >=? \$(\d+)", "'00000000-0000-0000-0000-000000000000'"),
    (r"\bdelivery_id >= \$(\d+)", "'00000000-0000-0000-0000-000000000000'"),
    (r"\borganization_id = \$(\d+)", "'01a20320-0000-7000-8000-000000000008'"),
    (r"\bevent_id = \$(\d+)", "'01a20320-0001-7000-8000-000000000007'"),
    (r"\bdelivery_id = \$(\d+)", "'01a20320-0002-7000-8000-000000000007'"),
    (r"\bsubscription_id = \$(\d+)", "'01a20320-0003-7000-8000-000000000007'"),
)
_VALUES: Final = {
    "bigint": "25000",
    "boolean": "false",
    "bytea": "'x'",
    "integer": "100",
    "smallint": "5",
    "text": "'7'",
    "tid": "'(0,1)'",
    "uuid": "'01a20320-0001-7000-8000-000000000007'",
}

WITHOUT_ROWS: Final = {"make_migrations", "replayed_to", "check_index", "erase_rows"}
"""What cannot be prepared (an extension, the name of a table), or not with values as above."""


class Database(NamedTuple):
    """A connection with the settings that the product's have."""

    name: str
    connection: Any


@pytest.fixture(scope="module")
def databases(postgres: Postgres, run: Run) -> Iterator[list[Database]]:
    grown = postgres.migrated_database()
    for table, (rows, columns, values) in _FILL.items():
        # Nothing here is analyzed before it is meant to be.
        postgres.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)", database=grown)
        postgres.execute(
            f"INSERT INTO {table} ({columns}) SELECT {values} FROM generate_series(1, {rows}) AS i",
            database=grown,
        )
    analyzed = postgres.create_database(template=grown)
    postgres.execute("VACUUM ANALYZE", database=analyzed)
    names = {"never analyzed": grown, "analyzed": analyzed}
    opened = [
        Database(
            name,
            run(
                asyncpg.connect(
                    postgres.url(database), server_settings=SESSION, statement_cache_size=0
                )
            ),
        )
        for name, database in names.items()
    ]
    yield opened
    for database in opened:
        run(database.connection.close())
    for each in names.values():
        postgres.drop_database(each)


def argument(statement: str, number: int, type_: str) -> str:
    for pattern, value in _COMPARED:
        if str(number) in re.findall(pattern, statement):
            return value
    if type_.endswith("[]"):
        return f"ARRAY[{', '.join([_VALUES[type_[:-2]]] * 3)}]::{type_}"
    return f"{_VALUES[type_]}::{type_}"


async def explained(db: Any, statement: str, mode: str) -> dict[str, Any]:  # noqa: ANN401 - no types
    await db.execute("DEALLOCATE ALL")
    await db.execute(f"SET plan_cache_mode = {mode}")
    await db.execute(f"PREPARE asked AS {statement}")
    types = await db.fetchval("SELECT parameter_types::text[] FROM pg_prepared_statements")
    values = [argument(statement, number, each) for number, each in enumerate(types, start=1)]
    call = f"asked({', '.join(values)})" if values else "asked"
    (answer,) = json.loads(await db.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE {call}"))
    plan: dict[str, Any] = answer["Plan"]
    return plan


MODES: Final = ("force_generic_plan", "force_custom_plan")
Plans = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture
def plans(databases: list[Database], run: Run, name: str) -> Plans:
    """The plan of a statement by database and mode."""
    return {
        (database.name, mode): run(explained(database.connection, SQL[name], mode))
        for database in databases
        for mode in MODES
    }


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from steps(part)


def look(step: dict[str, Any]) -> str | None:
    """How a step finds rows of a table, if it does."""
    kind, table = step["Node Type"], step.get("Relation Name")
    if table is None or kind == "ModifyTable":
        return None
    if kind in {"Index Scan", "Index Only Scan"}:
        bound = re.sub(r"\b\w+\.", "", step.get("Index Cond", ""))
        columns = sorted(set(re.findall(r"(\w+)\)* (=|<=|>=|<|>) ", bound)))
        named = ", ".join(f"{column} {operator}" for column, operator in columns)
        return f"{step['Index Name']} ({named})"
    if kind.startswith("Tid"):
        return f"{table} by place"
    return f"{table} from end to end"


def looks(plan: dict[str, Any]) -> list[str]:
    return sorted({found for step in steps(plan) if (found := look(step)) is not None})


ATTEMPTS: Final = "attempts_pkey (delivery_id =, organization_id =)"
DEAD_LETTER: Final = "dead_letters_pkey (delivery_id =, organization_id =)"
# By the pair of event and subscription; the tool shows the last column of a pair.
DELIVERIES_OF_PAIR: Final = (
    "deliveries_once (organization_id =, subscription_id <=, subscription_id >=)"
)
DELIVERIES_OF_EVENT: Final = "deliveries_once (event_id =, organization_id =)"
GROUP: Final = "error_class =, organization_id =, subscription_id ="
DELIVERY_BY_ID: Final = "deliveries_pkey (id =, organization_id =)"
DELIVERY_IN_QUEUE: Final = "delivery_queue_pkey (delivery_id =, organization_id =)"
LINE: Final = "delivery_queue_order (order_key =, organization_id =, subscription_id =)"
LINE_BY_KEY: Final = "order_keys_pkey (order_key =, organization_id =, subscription_id =)"
EVENT_BY_ID: Final = "events_pkey (id =, organization_id =)"
EVENT_IN_QUEUE: Final = "event_queue_pkey (event_id =, organization_id =)"
EVENT_BY_DEDUP_ID: Final = "events_dedup (dedup_id =, organization_id =)"
EVENT_STATE: Final = "event_states_pkey (event_id =, organization_id =)"
HEALTH: Final = "endpoint_health_pkey (organization_id =, subscription_id =)"
SUBSCRIPTION_BY_ID: Final = "subscriptions_pkey (id =, organization_id =)"

INBOX: Final = "inboxes_pkey (name =, organization_id =)"
INBOX_ITEM: Final = "inbox_items_pkey (cursor =, event_id =, organization_id =, xid =)"

PLANS: Final = {
    # append
    "append": [],
    "append_routed": [LINE, "settings_version from end to end"],
    "first_events": [EVENT_BY_DEDUP_ID, EVENT_IN_QUEUE, EVENT_STATE],
    # route
    "claim_queue": [
        "event_queue_due (due_at <=)", "event_queue by place", EVENT_BY_ID,
        "settings_version from end to end",
    ],
    "fan_out": [EVENT_IN_QUEUE, "event_queue by place", LINE],
    "give_sequences": [EVENT_IN_QUEUE, DELIVERIES_OF_EVENT],
    "release_queue": [EVENT_IN_QUEUE, "event_queue by place"],
    "erase_queue_row": [EVENT_IN_QUEUE],
    # claim
    "claim_due": [
        "delivery_queue_due (delivery_id >, due_at <=, priority =)", HEALTH, SUBSCRIPTION_BY_ID,
        "settings_version from end to end",
    ],
    "claim_lanes_passed": [HEALTH, SUBSCRIPTION_BY_ID],
    "claim_lanes": [
        "delivery_queue_lane (organization_id =, subscription_id >)", "subscriptions_active (id >)",
        HEALTH, SUBSCRIPTION_BY_ID,
    ],
    "claim_lane": [
        "delivery_queue_lane (due_at <=, organization_id =, priority >=)",
    ],
    "claim_half_open": [HEALTH, "endpoint_health by place"],
    "claim_deliveries_lease": ["delivery_queue by place", DELIVERY_BY_ID, EVENT_BY_ID],
    "in_flight": [
        "delivery_queue_lane (organization_id =, priority <=, priority >=)",
    ],
    "next_delivery_at": ["delivery_queue_due (due_at <, due_at >, priority =)"],
    # settle
    "settle": [
        DELIVERY_IN_QUEUE, "delivery_queue by place", DELIVERY_BY_ID, "deliveries by place",
        "endpoint_health_pkey (organization_id =, subscription_id =)",
    ],
    "hold_lines": [DELIVERY_IN_QUEUE, LINE_BY_KEY],
    "hold_lines_of_event": [DELIVERIES_OF_EVENT, DELIVERY_IN_QUEUE, LINE_BY_KEY],
    "hold_these_lines": [LINE_BY_KEY],
    "hold_ended_lines": [
        "subscriptions_ended ()", "delivery_queue_order (organization_id =, subscription_id =)",
        LINE_BY_KEY,
    ],
    "promote_heads": [LINE, "delivery_queue by place"],
    "line_head": [LINE],
    "delivery_standing": [DELIVERY_BY_ID, DELIVERY_IN_QUEUE, EVENT_STATE, SUBSCRIPTION_BY_ID],
    "cancel_delivery": [DELIVERY_BY_ID, DELIVERY_IN_QUEUE],
    "reopen_delivery": [DELIVERY_BY_ID, DEAD_LETTER],
    "bring_delivery_forward": [DELIVERY_IN_QUEUE],
    "cancel_event_deliveries": [DELIVERIES_OF_EVENT, DELIVERY_BY_ID, DELIVERY_IN_QUEUE],
    "cancel_ended": [
        "subscriptions_ended ()", "delivery_queue_lane (organization_id =, subscription_id =)",
        "delivery_queue by place", DELIVERY_BY_ID, "deliveries by place",
    ],
    "erase_event": [EVENT_BY_ID, EVENT_STATE],
    # read
    "event": [EVENT_BY_ID, EVENT_IN_QUEUE, EVENT_STATE],
    "event_deliveries": [DELIVERIES_OF_EVENT, DELIVERY_IN_QUEUE, EVENT_BY_ID],
    "event_attempts": [DELIVERIES_OF_EVENT, ATTEMPTS],
    "events": ["events_pkey (id <, id >, organization_id =)", EVENT_IN_QUEUE, EVENT_STATE],
    "events_upward": ["events_pkey (id <, id >, organization_id =)", EVENT_IN_QUEUE, EVENT_STATE],
    "events_bound": ["events_pkey (id <, id >, organization_id =)"],
    "events_bound_upward": ["events_pkey (id <, id >, organization_id =)"],
    "events_of_ids": [EVENT_BY_ID, EVENT_IN_QUEUE, EVENT_STATE],
    "events_tail": ["events_log (organization_id =, xid >=)", EVENT_IN_QUEUE, EVENT_STATE],
    "events_tail_upward": ["events_log (organization_id =, xid >=)", EVENT_IN_QUEUE, EVENT_STATE],
    "events_queued": [
        "event_queue_pkey (event_id <, event_id >, organization_id =)", EVENT_BY_ID, EVENT_IN_QUEUE,
        EVENT_STATE,
    ],
    "search_progress": [
        "events_log (organization_id =, xid >=)", "search_progress_pkey (organization_id =)",
    ],
    "search_blocks": ["search_blocks_pkey (number =, organization_id =, part =)"],
    "search_ids": ["search_parts_pkey (number =, organization_id =)"],
    "stale_part": ["search_parts_stale (stale_at <)"],
    "delete_blocks": ["search_blocks_pkey (organization_id =, part =)"],
    "events_to_index": [EVENT_BY_ID],
    "events_by_dedup_id": [EVENT_BY_DEDUP_ID, EVENT_IN_QUEUE, EVENT_STATE],
    "log": ["events_log (organization_id =, xid <, xid >=)", EVENT_IN_QUEUE, EVENT_STATE],
    "delivery": [DELIVERY_BY_ID, DELIVERY_IN_QUEUE, EVENT_BY_ID],
    "delivery_attempts": [ATTEMPTS],
    "deliveries": [
        "deliveries_pkey (id <, id >=, organization_id =)", DELIVERY_IN_QUEUE, EVENT_BY_ID,
    ],
    "finished_deliveries": ["deliveries_pkey (id <, id >=, organization_id =)", EVENT_BY_ID],
    "finished_deliveries_of_subscription": [
        "deliveries_subscription (id <, id >=, organization_id =, subscription_id =)", EVENT_BY_ID,
    ],
    "deliveries_bound": ["deliveries_pkey (id <, id >=, organization_id =)"],
    "deliveries_bound_of_subscription": [
        "deliveries_subscription (id <, id >=, organization_id =, subscription_id =)",
    ],
    "open_deliveries_bound": [
        "delivery_queue_pkey (delivery_id <, delivery_id >=, organization_id =)",
    ],
    "deliveries_by_event": [DELIVERIES_OF_EVENT, DELIVERY_IN_QUEUE, EVENT_BY_ID],
    "deliveries_by_subscription": [
        "deliveries_subscription (id <, id >=, organization_id =, subscription_id =)",
        DELIVERY_IN_QUEUE, EVENT_BY_ID,
    ],
    "dead_deliveries": [
        "dead_letters_pkey (delivery_id <, delivery_id >=, organization_id =)", DELIVERY_BY_ID,
        DELIVERY_IN_QUEUE, EVENT_BY_ID,
    ],
    # depths, asked for twice a second
    "queue_depths": [
        "event_queue_due (due_at <=)", "event_queue_due (due_at >)",
        "delivery_queue_due (priority =)", "endpoint_health from end to end",
        "pg_class_oid_index (oid =)",
    ],
    # of organizations that have a limit
    "organization_depths": ["event_queue_pkey (organization_id =)"],
    "spend_quotas": ["quotas_pkey (organization_id =)"],
    # of one subscription
    "append_test": [SUBSCRIPTION_BY_ID],
    "subscription_deliveries": [
        "deliveries_subscription (id <, id >=, organization_id =, subscription_id =)",
        DELIVERY_IN_QUEUE,
    ],
    "subscription_attempts": [
        "deliveries_subscription (id <, id >=, organization_id =, subscription_id =)", ATTEMPTS,
    ],
    "subscription_next": [
        "delivery_queue_lane (due_at <, organization_id =, priority =, subscription_id =)",
    ],
    # jobs
    "walk_events": [
        "events_pkey (id <, id >, id >=, organization_id =)", EVENT_IN_QUEUE, EVENT_STATE,
        DELIVERIES_OF_PAIR,
    ],
    "walk_deliveries": [
        "deliveries_pkey (id <, id >, id >=, organization_id =)", EVENT_BY_ID,
    ],
    "walk_deliveries_of_subscription": [
        "deliveries_subscription (id <, id >, id >=, organization_id =, subscription_id =)",
        EVENT_BY_ID,
    ],
    "walk_dead_letters": [
        "dead_letters_pkey (delivery_id <, delivery_id >, delivery_id >=, organization_id =)",
        DELIVERY_BY_ID, EVENT_BY_ID,
    ],
    "walk_dead_group": [f"dead_letters_group (delivery_id <, delivery_id >, delivery_id >=, {GROUP})",
        DELIVERY_BY_ID, EVENT_BY_ID,
    ],
    "walk_chosen": [DELIVERY_BY_ID, EVENT_BY_ID],
    # groups of dead letters, and what waits
    "dead_deliveries_of_groups": [
        f"dead_letters_group (delivery_id <, delivery_id >=, {GROUP})", DELIVERY_BY_ID, EVENT_BY_ID,
    ],
    "dead_class_next": ["dead_letters_group (error_class >, organization_id =, subscription_id =)"],
    "event_contents": [EVENT_BY_ID],
    "replayable_events": [EVENT_BY_ID, EVENT_STATE],
    "delivered_events": [DELIVERIES_OF_PAIR],
    "hold_events": [EVENT_BY_ID],
    "hold_dead": [DELIVERY_BY_ID],
    "purge_deliveries": [DEAD_LETTER, DELIVERY_BY_ID, ATTEMPTS],
    "event_routed": [EVENT_BY_ID, EVENT_IN_QUEUE, EVENT_STATE],
    "open_jobs": ["jobs_due ()"],
    # one event's end
    "hold_queue_row": [EVENT_IN_QUEUE],
    "event_standing": [EVENT_BY_ID, EVENT_IN_QUEUE, EVENT_STATE, DELIVERIES_OF_EVENT],
    # retention
    "hold_old_events": [
        "events_pkey (id <, id >, organization_id =)", EVENT_BY_ID, EVENT_IN_QUEUE, EVENT_STATE,
        DELIVERIES_OF_EVENT,
    ],
    "hold_old_deliveries": [
        "deliveries_pkey (id <, id >, organization_id =)", EVENT_BY_ID, EVENT_IN_QUEUE,
        DELIVERY_BY_ID,
    ],
    "hold_old_dead_letters": [
        "dead_letters_pkey (delivery_id <, delivery_id >, organization_id =)", DELIVERY_BY_ID,
        EVENT_BY_ID, EVENT_IN_QUEUE,
    ],
    "prune_events": [
        EVENT_BY_ID, EVENT_IN_QUEUE, EVENT_STATE, DELIVERIES_OF_EVENT, ATTEMPTS, DEAD_LETTER,
        "events by place", "event_states by place", "deliveries by place", "attempts by place",
        "dead_letters by place", "inboxes_pkey (organization_id =)", INBOX_ITEM,
        "inbox_items by place",
    ],
    # what is kept aside
    "set_aside_of_all": ["event_states_set_aside (event_id <)", EVENT_BY_ID],
    "event_aside": ["event_states_set_aside (event_id =)", EVENT_BY_ID],
    # inboxes
    "inbox_again": [
        "inbox_items_available (available_at <=, cursor =, event_id >, organization_id =)",
        EVENT_BY_ID, EVENT_IN_QUEUE, EVENT_STATE,
    ],
    "inbox_walk": [
        "events_log (organization_id =, xid <, xid >=)", EVENT_IN_QUEUE, EVENT_STATE, INBOX_ITEM,
    ],
    "inbox_open": [
        "inbox_items_pkey (cursor =, event_id <=, event_id >, organization_id =)",
        EVENT_BY_ID, EVENT_IN_QUEUE, EVENT_STATE,
    ],
    "inbox_next": ["inbox_items_available (available_at >, cursor =, organization_id =)"],
    "inbox_late": ["events_log (organization_id =, xid >=)"],
    "inbox_items": [INBOX_ITEM],
    "drop_inbox_items": [INBOX_ITEM, "inbox_items by place"],
    "ack_inbox_items": [
        "inbox_items_pkey (cursor =, event_id <=, event_id =, organization_id =, xid =)",
        INBOX, "inbox_items by place",
    ],
    "put_off_inbox_items": [INBOX, INBOX_ITEM, "inbox_items by place"],
    "inbox_events": [EVENT_BY_ID, EVENT_IN_QUEUE, EVENT_STATE],
    "inbox_contents": [EVENT_BY_ID, EVENT_IN_QUEUE, EVENT_STATE],
    "inbox_first": ["events_pkey (id >=, organization_id =)"],
    "inbox_withheld": ["event_states_aside (event_id =, organization_id =, status =)"],
    "count_inbox": [
        "inbox_items_pkey (cursor =, event_id <=, organization_id =)",
        "events_log (organization_id =, xid <, xid >=)",
        INBOX_ITEM, EVENT_BY_ID, EVENT_IN_QUEUE, EVENT_STATE,
    ],
    "prune_inbox_items": [
        "inbox_items_pkey (cursor =, organization_id =)", "inbox_items by place",
    ],
    "reveal_inbox_items": [
        "inboxes_pkey (organization_id =)", EVENT_BY_ID, INBOX_ITEM, "inbox_items by place",
    ],
    # settings, asked for twice a second
    "changed_keys": ["api_keys_version (version >)"],
    "changed_organizations": ["organizations_version (version >)"],
    "changed_subscriptions": ["subscriptions_version (version >)"],
    "subscriptions": ["subscriptions_pkey (id <, organization_id =)"],
    "end_expired_subscriptions": [
        "subscriptions_expiring (expires_at <=)", "subscriptions_pkey (id =, organization_id =)",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PLANS))
def test_a_statement_is_run_as_it_was_meant_to_be(plans: Plans, name: str) -> None:
    found = {where: looks(plan) for where, plan in plans.items()}
    assert found == dict.fromkeys(plans, sorted(PLANS[name]))


@pytest.mark.parametrize(
    "name",
    [
        "events", "events_upward", "events_by_dedup_id", "deliveries", "deliveries_by_subscription",
        "dead_deliveries", "subscriptions", "delivery_attempts",
    ],
)  # fmt: skip
def test_a_page_of_a_list_is_read_in_its_order_and_not_sorted(plans: Plans, name: str) -> None:
    assert name in PLANS
    for where, plan in plans.items():
        assert not [step for step in steps(plan) if "Sort" in step["Node Type"]], where


READ_WHOLE: Final = {
    "account_delivery_states": "the books are counted row by row, on request",
    "account_event_states": "the same",
    "free_deliveries": "no index on what every claim changes; sweeps and the silence of others are rare",
    "free_queue": "the same",
    "sort_dead_letters": "an index of what a version before has written since the last sweep",
    "workload_of_all": "up to a bound",
}


def reads_whole(plan: dict[str, Any]) -> list[str]:
    """The large tables of which every row is looked at, or every entry of an index."""
    return sorted(
        {
            step["Relation Name"]
            for step in steps(plan)
            if step.get("Relation Name") in BIG
            and step["Node Type"] != "ModifyTable"
            and not ("Index Cond" in step or step["Node Type"].startswith("Tid"))
        }
    )


def verifies(name: str) -> bool:
    """Whether that belongs to verifying and repairing: on request, all there is, in pieces."""
    return name.startswith(("check_", "mend_"))


def statements() -> list[str]:
    return sorted(set(SQL._texts) - WITHOUT_ROWS)


@pytest.mark.parametrize("name", statements())
def test_no_statement_reads_a_large_table_from_end_to_end(plans: Plans, name: str) -> None:
    found = {where: tables for where, plan in plans.items() if (tables := reads_whole(plan))}
    assert (not found) or name in READ_WHOLE or verifies(name), found


@pytest.mark.parametrize("name", sorted(READ_WHOLE))
def test_an_exception_from_that_rule_is_still_needed(plans: Plans, name: str) -> None:
    assert name in statements()
    assert all(map(reads_whole, plans.values()))


def test_what_looks_at_every_row_is_found_out(databases: list[Database], run: Run) -> None:
    for database in databases:
        for statement, tables in (
            ("SELECT FROM events WHERE source = $1", ["events"]),
            ("SELECT FROM events WHERE organization_id = $1", []),
            ("SELECT id FROM deliveries ORDER BY organization_id, id", ["deliveries"]),
        ):
            plan = run(explained(database.connection, statement, MODES[0]))
            assert reads_whole(plan) == tables


def test_one_database_was_analyzed_and_the_other_never(databases: list[Database], run: Run) -> None:
    counted = "SELECT count(*) FROM pg_stats WHERE tablename = 'deliveries'"
    known = [run(database.connection.fetchval(counted)) > 0 for database in databases]
    assert known == [False, True]
    for database in databases:
        assert run(database.connection.fetchval("SELECT count(*) FROM deliveries")) == ROWS


MANY: Final = 60_000
_ORGANIZATION, _SUBSCRIPTION = (
    f"'01a20320-000{kind}-7000-8000-000000000001'::uuid" for kind in (0, 3)
)
_FIRST, _EARLY, _LATE, _LAST = (
    f"'01a20320-0002-7000-8000-{number:012x}'::uuid" for number in (0, 200, MANY - 200, MANY)
)
WINDOWS: Final = {"early": (_FIRST, _EARLY), "late": (_LATE, _LAST)}
OF_A_SUBSCRIPTION: Final = {
    "deliveries_by_subscription": f"{_ORGANIZATION}, {{1}}, {{0}}, {{1}}, 50, {_SUBSCRIPTION}",
    "finished_deliveries_of_subscription": (
        f"{_ORGANIZATION}, {{1}}, {{0}}, {{1}}, 50, 5, {_SUBSCRIPTION}"
    ),
    "walk_deliveries_of_subscription": f"{_ORGANIZATION}, {{0}}, {{0}}, {{1}}, 50, {_SUBSCRIPTION}",
    "subscription_deliveries": f"{_ORGANIZATION}, {_SUBSCRIPTION}, {{0}}, {{1}}, 50",
    "subscription_attempts": f"{_ORGANIZATION}, {_SUBSCRIPTION}, {{0}}, {{1}}, 50, 50",
}


@pytest.fixture(scope="module")
def long_list(postgres: Postgres, run: Run) -> Iterator[Any]:
    """A connection to a database in which one subscription has many deliveries."""
    name = postgres.migrated_database()
    for statement in (
        "INSERT INTO events (organization_id, id, type, payload)"
        f" SELECT {_ORGANIZATION}, {EVENT}, 'order.created', 'null'"
        f" FROM generate_series(1, {MANY}) AS i",
        "INSERT INTO deliveries (organization_id, id, event_id, subscription_id, origin, origin_id,"
        " status, status_at, attempt_count, attempt_base)"
        f" SELECT {_ORGANIZATION}, {DELIVERY}, {EVENT}, {_SUBSCRIPTION}, 0,"
        " '00000000-0000-0000-0000-000000000000', 5, i, 0, 0"
        f" FROM generate_series(1, {MANY}) AS i",
        "VACUUM ANALYZE",
    ):
        postgres.execute(statement, database=name)
    db = run(asyncpg.connect(postgres.url(name), server_settings=SESSION, statement_cache_size=0))
    yield db
    run(db.close())
    postgres.drop_database(name)


@pytest.mark.parametrize("name", sorted(OF_A_SUBSCRIPTION))
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("window", sorted(WINDOWS))
def test_a_window_of_a_subscription_is_found_without_reading_what_is_outside(
    long_list: Any,  # noqa: ANN401 - no types
    run: Run,
    name: str,
    mode: str,
    window: str,
) -> None:
    given = OF_A_SUBSCRIPTION[name].format(*WINDOWS[window])

    async def read() -> int:
        await long_list.execute("DEALLOCATE ALL")
        await long_list.execute(f"SET plan_cache_mode = {mode}")
        await long_list.execute(f"PREPARE asked AS {SQL[name]}")
        (answer,) = json.loads(
            await long_list.fetchval(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE asked({given})"
            )
        )
        (scan,) = (
            step for step in steps(answer["Plan"]) if step.get("Relation Name") == "deliveries"
        )
        assert scan["Actual Rows"] == 50
        pages: int = scan["Shared Hit Blocks"] + scan["Shared Read Blocks"]
        return pages

    assert run(read()) < 70
