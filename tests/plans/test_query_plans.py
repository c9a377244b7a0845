"""Every statement finds its rows by the index that was made for it, however much lies around them.

The tables hold tens of thousands of rows and ANALYZE has never run, as in the product. A plan that
changes is a decision to be made, not an accident to be found in production.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import apsw
import pytest

from triggers_api.store.sqlite import schema
from triggers_api.store.sqlite.connection import open_writer
from triggers_api.store.sqlite.tables import SQL

ROWS: Final = 50_000
SUBSCRIPTIONS: Final = 500
PARTS: Final = ROWS // 10

BIG: Final = (
    "events",
    "event_payloads",
    "event_queue",
    "event_failures",
    "deliveries",
    "attempts",
    "inbox_items",
    "search_parts",
    "search_blocks",
)

_COUNT = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "
_FILL: Final = (
    (
        ROWS,
        "INSERT INTO events (id, organization_id, status, status_at, type, dedup_id)"
        " SELECT (i << 20), 1 + i % 20, i % 7, i, 'order.created', iif(i % 2, 'd' || i, NULL) FROM n",
    ),
    (ROWS, "INSERT INTO event_payloads (event_id, payload) SELECT (i << 20), x'6e756c6c' FROM n"),
    (
        ROWS,
        "INSERT INTO event_queue (due_at, event_id, lease_until, lease_token, attempts)"
        " SELECT i, (i << 20), i % 3, iif(i % 3, 1 << 50, 1 << 62), 0 FROM n",
    ),
    (
        ROWS // 10,
        "INSERT INTO event_failures (event_id, reason, attempts) SELECT (i << 20), 'no', 5 FROM n",
    ),
    (
        ROWS,
        "INSERT INTO deliveries (id, organization_id, event_id, subscription_id, origin, origin_id,"
        " status, status_at, attempt_count, attempt_base, due_at, lease_until, lease_token, priority)"
        f" SELECT (i << 20) + 1, 1 + i % 20, (i << 20), i % {SUBSCRIPTIONS}, 0, 0, 2 + i % 7, i, 1, 0,"
        " iif(i % 7 < 3, i, NULL), i, 1 << 50, i / 3 % 2 FROM n",
    ),
    (
        ROWS,
        "INSERT INTO attempts (id, delivery_id, number, started_at, duration_ms)"
        " SELECT (i << 20) + 2, (i << 20) + 1, 1, i, 1 FROM n",
    ),
    (
        PARTS,
        "INSERT INTO search_parts (id, organization_id, first_id, last_id, bits, whole, stale_at)"
        " SELECT i, 1 + i % 20, i * 10 << 20, i * 10 + 9 << 20, 4, x'', iif(i % 100, NULL, i) FROM n",
    ),
    (ROWS, "INSERT INTO search_blocks (id, body) SELECT i / 10 << 16 | i % 10, x'00' FROM n"),
    (
        ROWS,
        "INSERT INTO inbox_items (cursor, event_id, available_at, lease_token, receive_count)"
        " SELECT 1 + i % 20, (i << 20), iif(i % 5, i, NULL), 1 << 62, 0 FROM n",
    ),
    (
        SUBSCRIPTIONS,
        "INSERT INTO subscriptions (id, organization_id, state, body, secrets, from_organization,"
        " version) SELECT i, 1 + i % 20, i % 3, x'7b7d', x'5b5d', 0, i FROM n",
    ),
)


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    connection = open_writer(tmp_path_factory.mktemp("plans") / "triggers.db")
    schema.migrate(connection, now=1)
    schema.identity(connection)
    with connection:
        for rows, statement in _FILL:
            connection.execute(_COUNT.format(rows=rows) + statement)
    yield connection
    connection.close()


def plan_of(db: apsw.Connection, name: str) -> list[str]:
    """The lines of a plan that say how rows of tables are found and sorted."""
    statement = SQL.rows(name, 3)
    names = set(re.findall(r":(\w+)", statement))
    numbered = max((int(each) for each in re.findall(r"\?(\d+)", statement)), default=0)
    bindings = (
        dict.fromkeys(names)
        if names
        else [None] * (numbered + len(re.findall(r"\?(?!\d)", statement)))
    )
    lines = [line for *_, line in db.execute(f"EXPLAIN QUERY PLAN {statement}", bindings)]
    return [
        line
        for line in lines
        if re.match(r"(SEARCH|SCAN|USE TEMP)", line)
        and not re.match(
            r"SCAN (carray|c VIRTUAL|CONSTANT ROW|\d+-ROW VALUES|\d+ CONSTANT ROWS|held|moment)",
            line,
        )
    ]


EVENT = "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)"
PAYLOAD = "SEARCH p USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN"
SUBSCRIPTION = "SEARCH s USING INTEGER PRIMARY KEY (rowid=?)"
BY_ID = "SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)"
HEALTH = "SEARCH h USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN"
IN_A_LANE = (
    "SEARCH d USING INDEX deliveries_lane"
    " (organization_id=? AND subscription_id=? AND priority=? AND due_at>? AND due_at<?)"
)
WAITING = (
    "SEARCH deliveries USING COVERING INDEX deliveries_due (priority=? AND due_at>? AND due_at<?)"
)
QUEUE_ROW = "SEARCH event_queue USING PRIMARY KEY (due_at=? AND event_id=?)"
SORTED = "USE TEMP B-TREE FOR ORDER BY"

PLANS: Final = {
    # append
    "holder_of_dedup_id": [
        "SEARCH events USING COVERING INDEX events_dedup (organization_id=? AND dedup_id=?)"
    ],
    "first_event": [EVENT, PAYLOAD],
    # route
    "claim_queue": ["SEARCH q USING PRIMARY KEY (due_at<?)", EVENT],
    "claim_queue_lease": [QUEUE_ROW],
    "claimed_contents": [EVENT, "SEARCH p USING INTEGER PRIMARY KEY (rowid=?)"],
    "queue_rows_held": [QUEUE_ROW],
    "queue_rows_done": [QUEUE_ROW],
    "release_queue": [QUEUE_ROW],
    "erase_queue_row": [QUEUE_ROW],
    "set_event_status": ["SEARCH events USING INTEGER PRIMARY KEY (rowid=?)"],
    "delivery_numbers": [BY_ID],
    # claim
    "claim_due": [
        "SEARCH d USING INDEX deliveries_due (priority=? AND due_at>? AND due_at<?)",
        SUBSCRIPTION,
        HEALTH,
    ],
    "claim_due_same": [
        "SEARCH d USING INDEX deliveries_due (priority=? AND due_at=? AND rowid>?)",
        SUBSCRIPTION,
        HEALTH,
    ],
    "claim_lanes_passed": [SUBSCRIPTION, HEALTH],
    "claim_ran_out": ["SEARCH deliveries USING COVERING INDEX deliveries_leased (lease_until<?)"],
    "claim_lane": [IN_A_LANE, "SCAN (subquery-1)", IN_A_LANE, "SCAN (subquery-3)"],
    "claim_lanes": [
        "SCAN w",
        SUBSCRIPTION,
        "SEARCH d USING COVERING INDEX deliveries_lane (organization_id>?)",
        "SEARCH d USING COVERING INDEX deliveries_lane (organization_id=? AND subscription_id>?)",
        "SEARCH d USING COVERING INDEX deliveries_lane (organization_id>?)",
        "SEARCH n USING COVERING INDEX subscriptions_active (organization_id=? AND rowid>?)",
        "SEARCH n USING COVERING INDEX subscriptions_active (organization_id>?)",
        "SCAN w",
        SUBSCRIPTION,
        HEALTH,
        SORTED,
    ],
    "claim_half_open": ["SEARCH endpoint_health USING INTEGER PRIMARY KEY (rowid=?)"],
    "claim_deliveries_lease": [BY_ID],
    "in_flight": [
        "SEARCH deliveries USING INDEX deliveries_leased (lease_until>?)",
        "SCAN (subquery-1)",
    ],
    "next_delivery_at": [WAITING, WAITING, "SEARCH (subquery-2)"],
    # settle
    "deliveries_held": ["SEARCH d USING INTEGER PRIMARY KEY (rowid=?)"],
    "settle": [BY_ID],
    "delivery_standing": ["SEARCH d USING INTEGER PRIMARY KEY (rowid=?)", EVENT, SUBSCRIPTION],
    "cancel_delivery": [BY_ID],
    "reopen_delivery": [BY_ID],
    "bring_delivery_forward": [BY_ID],
    "cancel_event_deliveries": ["SEARCH deliveries USING INDEX deliveries_once (event_id=?)"],
    # read
    "event": [EVENT, PAYLOAD, "SEARCH f USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN"],
    "events": [
        "SEARCH e USING INDEX events_organization (organization_id=? AND rowid>? AND rowid<?)",
        PAYLOAD,
    ],
    "events_upward": [
        "SEARCH e USING INDEX events_organization (organization_id=? AND rowid>? AND rowid<?)",
        PAYLOAD,
    ],
    "events_bound": [
        "SEARCH events USING COVERING INDEX events_organization"
        " (organization_id=? AND rowid>? AND rowid<?)"
    ],
    "events_bound_upward": [
        "SEARCH events USING COVERING INDEX events_organization"
        " (organization_id=? AND rowid>? AND rowid<?)"
    ],
    "events_of_ids": [EVENT, PAYLOAD],
    "events_aside": [
        "SEARCH e USING INDEX events_aside (organization_id=? AND status=? AND rowid>? AND rowid<?)",
        PAYLOAD,
    ],
    "search_parts": [
        "SEARCH search_parts USING INDEX search_parts_organization (organization_id=? AND last_id>?)"
    ],
    "search_blocks": ["SEARCH b USING INTEGER PRIMARY KEY (rowid=?)"],
    "count_behind": [
        "SEARCH events USING COVERING INDEX events_organization"
        " (organization_id=? AND rowid>? AND rowid<?)",
        "SCAN (subquery-1)",
    ],
    # index
    "unindexed_events": [
        "SEARCH e USING INDEX events_organization (organization_id=? AND rowid>?)",
        "SEARCH search_progress USING INTEGER PRIMARY KEY (rowid=?)",
        PAYLOAD,
    ],
    "stale_part": ["SEARCH search_parts USING INDEX search_parts_stale (stale_at<?)"],
    "mark_stale": [
        "SEARCH search_parts USING INDEX search_parts_organization (organization_id=? AND last_id>?)"
    ],
    "delete_blocks": ["SEARCH search_blocks USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
    "events_by_dedup_id": [
        "SEARCH e USING INDEX events_dedup"
        " (organization_id=? AND dedup_id=? AND rowid>? AND rowid<?)",
        PAYLOAD,
    ],
    "event_deliveries": ["SEARCH d USING INDEX deliveries_once (event_id=?)", EVENT, SORTED],
    "event_attempts": [
        "SEARCH d USING COVERING INDEX deliveries_once (event_id=?)",
        "SEARCH a USING INDEX attempts_delivery (delivery_id=?)",
        SORTED,
    ],
    "delivery": ["SEARCH d USING INTEGER PRIMARY KEY (rowid=?)", EVENT],
    "delivery_attempts": ["SEARCH attempts USING INDEX attempts_delivery (delivery_id=?)"],
    "deliveries": [
        "SEARCH d USING INDEX deliveries_organization (organization_id=? AND rowid>? AND rowid<?)",
        EVENT,
    ],
    "deliveries_by_subscription": [
        "SEARCH d USING INDEX deliveries_subscription (subscription_id=? AND rowid>? AND rowid<?)",
        EVENT,
    ],
    "deliveries_bound": [
        "SEARCH deliveries USING COVERING INDEX deliveries_organization"
        " (organization_id=? AND rowid>? AND rowid<?)"
    ],
    "deliveries_bound_of_subscription": [
        "SEARCH deliveries USING INDEX deliveries_subscription"
        " (subscription_id=? AND rowid>? AND rowid<?)",
        "SCAN d",
    ],
    # One event has few deliveries; they are sorted after they were found.
    "deliveries_by_event": ["SEARCH d USING INDEX deliveries_once (event_id=?)", EVENT, SORTED],
    "dead_deliveries": [
        "SEARCH d USING INDEX deliveries_dead (organization_id=? AND rowid>? AND rowid<?)",
        EVENT,
    ],
    # statistics of a subscription; what is grouped is bounded by a limit
    "test_target": ["SEARCH subscriptions USING INTEGER PRIMARY KEY (rowid=?)"],
    # jobs
    "walk_events": [
        "SEARCH e USING INDEX events_organization (organization_id=? AND rowid>? AND rowid<?)",
        "SEARCH d USING COVERING INDEX deliveries_once (event_id=? AND subscription_id=?)",
        "SEARCH d USING INDEX deliveries_once (event_id=?)",
    ],
    "walk_deliveries": [
        "SEARCH d USING INDEX deliveries_organization (organization_id=? AND rowid>? AND rowid<?)",
        EVENT,
    ],
    "walk_deliveries_of_subscription": [
        "SEARCH d USING INDEX deliveries_subscription (subscription_id=? AND rowid>? AND rowid<?)",
        EVENT,
    ],
    "walk_dead_letters": [
        "SEARCH d USING INDEX deliveries_dead (organization_id=? AND rowid>? AND rowid<?)",
        EVENT,
    ],
    "walk_dead_group": [
        "SEARCH d USING INDEX deliveries_dead_group (organization_id=? AND subscription_id=?"
        " AND error_class=? AND rowid>? AND rowid<?)",
        EVENT,
    ],
    "walk_chosen": [
        "SEARCH d USING INDEX deliveries_organization (organization_id=? AND rowid=?)",
        EVENT,
    ],
    # groups of dead letters, and what a subscription has waiting
    "dead_deliveries_of_group": [
        "SEARCH d USING INDEX deliveries_dead_group (organization_id=? AND subscription_id=?"
        " AND error_class=? AND rowid>? AND rowid<?)",
        EVENT,
    ],
    "dead_group": [
        "SEARCH d USING COVERING INDEX deliveries_dead_group (organization_id=? AND"
        " subscription_id=? AND error_class=?)",
        "SCAN (subquery-1)",
        "SEARCH d USING COVERING INDEX deliveries_dead_group (organization_id=? AND"
        " subscription_id=? AND error_class=?)",
    ],
    "dead_group_next": [
        "SEARCH d USING COVERING INDEX deliveries_dead_group (organization_id=? AND"
        " subscription_id=? AND error_class>?)",
    ],
    "dead_group_of_next": [
        "SEARCH d USING COVERING INDEX deliveries_dead_group (organization_id=? AND"
        " subscription_id>?)",
    ],
    "subscription_workload": [
        "SEARCH d USING COVERING INDEX deliveries_lane (organization_id=? AND subscription_id=?)",
        "SCAN (subquery-1)",
        "SEARCH d USING COVERING INDEX deliveries_dead_group (organization_id=? AND"
        " subscription_id=?)",
        "SCAN (subquery-3)",
    ],
    # what was counted
    "rollups": [
        "SEARCH rollups USING PRIMARY KEY (organization_id=? AND subscription_id=? AND step_s=?"
        " AND started_at>? AND started_at<?)",
    ],
    "event_contents": [
        "SEARCH e USING INDEX events_organization (organization_id=? AND rowid=?)",
        "SEARCH p USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "replayable_events": [
        "SEARCH events USING INDEX events_organization (organization_id=? AND rowid=?)"
    ],
    "delivered_events": [
        "SEARCH deliveries USING COVERING INDEX deliveries_once (event_id=? AND subscription_id=?)"
    ],
    "dead_among": [
        "SEARCH deliveries USING COVERING INDEX deliveries_dead (organization_id=? AND rowid=?)"
    ],
    "purge_deliveries": [BY_ID],
    "purge_attempts": ["SEARCH attempts USING COVERING INDEX attempts_delivery (delivery_id=?)"],
    "event_routed": ["SEARCH events USING INTEGER PRIMARY KEY (rowid=?)"],
    "open_jobs": ["SCAN jobs USING INDEX jobs_due"],
    # retention
    "next_owner": ["SEARCH events USING COVERING INDEX events_organization (organization_id>?)"],
    "old_events": [
        "SEARCH e USING INDEX events_organization (organization_id=? AND rowid>? AND rowid<?)",
        "SEARCH d USING INDEX deliveries_once (event_id=?)",
    ],
    "next_owner_of_deliveries": [
        "SEARCH deliveries USING COVERING INDEX deliveries_organization (organization_id>?)"
    ],
    "next_owner_of_dead_letters": [
        "SEARCH deliveries USING COVERING INDEX deliveries_dead (organization_id>?)"
    ],
    "old_deliveries": [
        "SEARCH d USING INDEX deliveries_organization (organization_id=? AND rowid>? AND rowid<?)",
        "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "old_dead_letters": [
        "SEARCH d USING INDEX deliveries_dead (organization_id=? AND rowid>? AND rowid<?)",
        "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "still_finished": [
        "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH e EXISTS USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "attempts_to_prune": [
        "SEARCH a USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        "SEARCH d USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
    ],
    "prune_attempts": [
        "SEARCH attempts USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "jobs_from": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid>?)"],
    "prune_jobs": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "still_old": [EVENT, "SEARCH d USING INDEX deliveries_once (event_id=?)"],
    "deliveries_of_events": ["SEARCH deliveries USING COVERING INDEX deliveries_once (event_id=?)"],
    "prune_items_of_events": [
        "SEARCH inbox_items USING PRIMARY KEY (cursor=? AND event_id=?)",
        "SEARCH inboxes USING PRIMARY KEY (organization_id=?)",
    ],
    "erase_traces": ["SEARCH event_traces USING INTEGER PRIMARY KEY (rowid=?)"],
    "prune_payloads": ["SEARCH event_payloads USING INTEGER PRIMARY KEY (rowid=?)"],
    "prune_failures": ["SEARCH event_failures USING INTEGER PRIMARY KEY (rowid=?)"],
    "prune_events": ["SEARCH events USING INTEGER PRIMARY KEY (rowid=?)"],
    # inboxes
    "inbox_again": [
        "SEARCH i USING INDEX inbox_items_available"
        " (cursor=? AND (available_at,event_id)>(?,?) AND available_at<?)",
        "SEARCH e USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
        PAYLOAD,
    ],
    "inbox_walk": [
        "SEARCH e USING INDEX events_organization (organization_id=? AND rowid>?)",
        "SEARCH i USING PRIMARY KEY (cursor=? AND event_id=?) LEFT-JOIN",
        PAYLOAD,
    ],
    "inbox_open": [
        "SEARCH i USING PRIMARY KEY (cursor=? AND event_id>? AND event_id<?)",
        EVENT,
        PAYLOAD,
    ],
    "inbox_next": [
        "SEARCH inbox_items USING COVERING INDEX inbox_items_available"
        " (cursor=? AND available_at>?)"
    ],
    "inbox_items": ["SEARCH i USING PRIMARY KEY (cursor=? AND event_id=?)"],
    "drop_inbox_items": ["SEARCH inbox_items USING PRIMARY KEY (cursor=? AND event_id=?)"],
    "inbox_events": [EVENT],
    "inbox_contents": [EVENT, PAYLOAD],
    "inbox_hidden": [
        "SEARCH q USING PRIMARY KEY (due_at>?)",
        EVENT,
        "SEARCH e USING INDEX events_aside (organization_id=? AND status=? AND rowid<?)",
    ],
    "set_aside_of_all": [
        "SEARCH e USING INDEX events_set_aside (id<?)",
        "SEARCH f USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
    ],
    "prune_inbox_items": [
        "SEARCH inbox_items USING PRIMARY KEY (cursor=? AND event_id=?)",
        "SEARCH inbox_items USING PRIMARY KEY (cursor=?)",
    ],
    "reveal_inbox_items": [
        "SEARCH inbox_items USING PRIMARY KEY (cursor=? AND event_id=?)",
        "SEARCH inboxes USING PRIMARY KEY (organization_id=?)",
    ],
    # settings, asked for twice a second
    "changed_keys": ["SEARCH api_keys USING INDEX api_keys_version (version>?)"],
    "changed_organizations": ["SEARCH organizations USING INDEX organizations_version (version>?)"],
    "changed_subscriptions": ["SEARCH subscriptions USING INDEX subscriptions_version (version>?)"],
}


@pytest.mark.parametrize("name", sorted(PLANS))
def test_a_statement_is_run_as_it_was_meant_to_be(db: apsw.Connection, name: str) -> None:
    assert plan_of(db, name) == PLANS[name]


def test_what_was_claimed_is_read_by_row_number(db: apsw.Connection) -> None:
    # At most a claim's worth of rows is sorted, so whether it is does not matter.
    found = [line for line in plan_of(db, "claimed_deliveries") if line != SORTED]
    assert found == ["SEARCH d USING INTEGER PRIMARY KEY (rowid=?)", EVENT, PAYLOAD, SUBSCRIPTION]


def test_what_waits_for_ended_subscriptions_is_found_lane_by_lane(db: apsw.Connection) -> None:
    plan = plan_of(db, "cancel_ended")
    assert any("deliveries_lane (organization_id=? AND subscription_id=?" in line for line in plan)
    assert any("subscriptions_ended" in line for line in plan)


@pytest.mark.parametrize(
    ("name", "index"),
    [("free_queue", "event_queue_leased"), ("free_deliveries", "deliveries_leased")],
)
def test_a_sweep_looks_only_at_what_is_leased(db: apsw.Connection, name: str, index: str) -> None:
    (line,) = plan_of(db, name)
    assert re.match(rf"SEARCH \w+ USING INDEX {index} \(lease_until<\?\)", line)


READ_WHOLE: Final = {
    "account_delivery_states": "the books are counted row by row, on request",
    "account_event_states": "the same",
    "count_queued": "up to a bound",
    "events_queued": "when they are few, by the count before",
    "events_queued_upward": "the same",
    "organization_depths": "for organizations with a limit, with a rest of 20 times as long after each",
    "queue_depths": "depths are counts; twice a second at most, over indexes of what is open",
    "workload": "up to a bound",
    "workload_of_all": "the same",
}


WITHOUT_PLAN: Final = {"make_migrations", "erase_rows", "erase_of_subscriptions"}
"""What has no rows, or the name of its table only when it is run."""


def verifies(name: str) -> bool:
    """Whether that belongs to verifying and repairing: on request, all there is, in pieces."""
    return name.startswith(("check_", "mend_"))


def statements() -> list[str]:
    return sorted(set(SQL._texts) - WITHOUT_PLAN)


@pytest.mark.parametrize("name", statements())
def test_no_statement_reads_a_large_table_from_end_to_end(db: apsw.Connection, name: str) -> None:
    statement = SQL[name]
    aliases = {
        alias: table
        for table, alias in re.findall(r"\b(\w+)\s+AS\s+(\w+)", statement)
        if table in BIG
    }
    large = {*BIG, *aliases}
    scanned = [
        line for line in plan_of(db, name) if line.startswith("SCAN") and line.split()[1] in large
    ]
    assert (not scanned) or name in READ_WHOLE or verifies(name), scanned


@pytest.mark.parametrize("name", sorted(READ_WHOLE))
def test_an_exception_from_that_rule_is_still_needed(db: apsw.Connection, name: str) -> None:
    assert any(line.startswith("SCAN") for line in plan_of(db, name))


def test_a_count_of_what_is_open_does_not_touch_what_is_finished(db: apsw.Connection) -> None:
    for line in plan_of(db, "queue_depths"):
        table = line.split()[1]
        of_few = table in {"event_queue", "endpoint_health"}
        assert of_few or "COVERING INDEX deliveries_" in line, line


def test_the_tables_were_filled_and_never_analyzed(db: apsw.Connection) -> None:
    assert list(db.execute("SELECT count(*) FROM deliveries")) == [(ROWS,)]
    assert not list(db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1'"))


def test_what_waits_for_a_subscription_first_is_found_by_a_seek_for_either_line(
    db: apsw.Connection,
) -> None:
    seeks = [line for line in plan_of(db, "subscription_next") if "SEARCH d " in line]
    line = "organization_id=? AND subscription_id=? AND priority=? AND due_at>? AND due_at<?"
    assert seeks == [f"SEARCH d USING INDEX deliveries_lane ({line})"] * 2
