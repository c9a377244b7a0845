"""The states of a delivery, against a table written down by hand."""

import pytest

from triggers_api.model.delivery import (
    FINISHED,
    OPEN,
    RETRYABLE,
    TRANSITIONS,
    WAITING,
    DeliveryStatus,
    reopened,
)

ALLOWED = {
    ("pending", "delivering"),
    ("pending", "cancelled"),
    ("delivering", "succeeded"),
    ("delivering", "retrying"),
    ("delivering", "dead"),
    ("delivering", "skipped"),
    ("delivering", "cancelled"),
    ("delivering", "pending"),
    ("retrying", "delivering"),
    ("retrying", "cancelled"),
    ("dead", "pending"),
    ("dead", "retrying"),
    ("skipped", "pending"),
    ("skipped", "retrying"),
    ("cancelled", "pending"),
    ("cancelled", "retrying"),
}


@pytest.mark.parametrize("after", DeliveryStatus)
@pytest.mark.parametrize("before", DeliveryStatus)
def test_exactly_the_steps_of_the_table_are_allowed(
    before: DeliveryStatus, after: DeliveryStatus
) -> None:
    assert (after in TRANSITIONS[before]) is ((before.value, after.value) in ALLOWED)


def test_every_state_has_its_row_in_the_table() -> None:
    assert set(TRANSITIONS) == set(DeliveryStatus)


def test_the_states_have_the_names_of_the_contract() -> None:
    assert {status.value for status in DeliveryStatus} == {
        "pending", "delivering", "retrying", "succeeded", "dead", "skipped", "cancelled",
    }  # fmt: skip


def test_waiting_open_and_finished_are_as_the_contract_has_them() -> None:
    assert {status.value for status in WAITING} == {"pending", "retrying"}
    assert {status.value for status in OPEN} == {"pending", "retrying", "delivering"}
    assert {status.value for status in FINISHED} == {"succeeded", "dead", "skipped", "cancelled"}


def test_what_did_not_succeed_can_be_retried_by_hand_and_what_did_cannot() -> None:
    assert {status.value for status in RETRYABLE} == {"dead", "skipped", "cancelled"}


def test_a_success_is_final() -> None:
    assert not TRANSITIONS[DeliveryStatus.SUCCEEDED]


def test_nothing_waiting_finishes_by_itself_but_by_being_cancelled() -> None:
    for status in WAITING:
        assert TRANSITIONS[status] & FINISHED == {DeliveryStatus.CANCELLED}


@pytest.mark.parametrize(("attempts", "status"), [(0, "pending"), (1, "retrying"), (9, "retrying")])
def test_a_delivery_that_was_tried_before_waits_as_retrying(attempts: int, status: str) -> None:
    assert reopened(attempts) == status
    assert reopened(attempts) in WAITING
