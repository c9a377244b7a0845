"""For how long what is finished is kept."""

from __future__ import annotations

import msgspec
import pytest

from triggers_api.model.organization import Organization
from triggers_api.model.retention import Ages, RetentionDays, keeps_everything, without_effect
from triggers_api.model.timestamp import Timestamp

DAY_MS = 86_400_000
NOW = Timestamp(1000 * DAY_MS)


def organization(name: str = "org_a", days: dict[str, int] | None = None) -> Organization:
    made = Organization(id=name, name="x", created_at=NOW, updated_at=NOW)
    return msgspec.structs.replace(made, **(days or {}))


def ages(events: int, deliveries: int, attempts: int, dead_letters: int) -> Ages:
    return Ages(events=events, deliveries=deliveries, attempts=attempts, dead_letters=dead_letters)


@pytest.mark.parametrize(
    ("days", "own", "expected"),
    [
        (RetentionDays(events=7), {}, ages(7, 7, 0, 7)),
        (RetentionDays(events=0), {}, ages(0, 0, 0, 0)),
        (RetentionDays(events=30, deliveries=5), {}, ages(30, 5, 0, 30)),
        (RetentionDays(events=30, deliveries=5, attempts=2), {}, ages(30, 5, 2, 30)),
        (RetentionDays(events=7, dead_letters=90), {}, ages(7, 7, 0, 90)),
        (RetentionDays(events=7), {"retention_days": 60}, ages(60, 60, 0, 60)),
        (RetentionDays(events=7, attempts=3), {"retention_days": 60}, ages(60, 60, 3, 60)),
        (
            RetentionDays(events=7, deliveries=5, attempts=3, dead_letters=9),
            {"delivery_retention_days": 0, "dead_letter_retention_days": 1},
            ages(7, 0, 3, 1),
        ),
    ],
)
def test_what_nobody_has_set_is_kept_for_as_long_as_that_to_which_it_belongs(
    days: RetentionDays, own: dict[str, int], expected: Ages
) -> None:
    assert days.ages(organization(days=own)) == expected


def test_only_organizations_for_which_something_else_holds_are_asked_for_by_name() -> None:
    days = RetentionDays(events=7)
    given = [organization("org_a"), organization("org_b", {"retention_days": 1})]
    found = days.cutoffs(given, now=NOW)
    assert found.default.events == NOW - 7 * DAY_MS
    assert {name: each.events for name, each in found.own.items()} == {"org_b": NOW - DAY_MS}


def test_for_ever_is_before_everything() -> None:
    found = RetentionDays(events=0).cutoffs([], now=NOW)
    assert found.default.events == 0
    assert keeps_everything(found)
    assert not keeps_everything(RetentionDays(events=0, attempts=9).cutoffs([], now=NOW))
    assert RetentionDays(events=36_500).cutoffs([], now=NOW).default.events == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (ages(7, 7, 7, 7), ()),
        (ages(0, 30, 60, 7), ()),
        (ages(7, 30, 7, 30), ("deliveries",)),
        (ages(7, 0, 0, 0), ()),
        (ages(7, 8, 9, 0), ("deliveries", "attempts")),
    ],
)
def test_ages_beyond_that_of_the_event_are_without_effect_but_for_dead_letters(
    given: Ages, expected: tuple[str, ...]
) -> None:
    assert without_effect(given) == expected
