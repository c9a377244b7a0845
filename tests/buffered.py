"""The contract's tests with the ingest buffer before PostgreSQL, and where that makes a difference.

What waits in Redis is found by its id, and in lists when it has landed. The tests that are named here
read their own writes in lists, or ask the database itself: for these an event has landed when its answer
is out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import pytest

from triggers_api.ingest.buffer_redis.buffer import Buffer
from triggers_api.ingest.buffer_redis.consumer import Consumer
from triggers_api.ingest.buffer_redis.producer import Answers
from triggers_api.model.event import NewEvent

READ_THEIR_OWN_WRITES: Final = {
    # test_admin
    "test_the_books_count_every_state_and_balance",
    # test_audit
    "test_every_route_that_changes_something_tells_who_did_it",
    # test_backpressure
    "test_an_organization_whose_events_wait_for_too_long_is_refused_alone",
    "test_at_the_age_events_are_refused_until_the_oldest_is_routed",
    # test_batch
    "test_a_thousand_items_are_one_batch",
    "test_lines_are_read_as_they_come_and_a_bad_one_costs_no_other",
    "test_nine_good_ones_and_a_bad_one_are_nine_accepted_and_one_rejected_with_its_place",
    "test_simultaneous_batches_of_the_same_events_store_each_once",
    "test_twins_in_one_batch_and_in_the_store_are_duplicates",
    # test_controls
    "test_a_drain_does_not_wait_for_what_nobody_may_send",
    "test_a_drain_refuses_what_comes_in_and_says_when_nothing_is_left",
    # test_deliveries
    "test_a_dead_one_whose_event_or_subscription_is_gone_stays_dead",
    "test_a_delivery_shows_every_attempt",
    "test_a_retry_by_hand_begins_the_schedule_anew",
    "test_an_attempt_that_got_no_answer_says_why",
    "test_dead_letters_are_the_deliveries_that_are_dead",
    "test_it_can_be_cancelled",
    "test_it_can_be_retried_by_hand",
    "test_it_cannot_be_cancelled",
    "test_it_cannot_be_retried",
    "test_of_simultaneous_actions_each_has_an_answer_and_one_effect",
    "test_what_a_receiver_gives_back_of_credentials_is_shown_nowhere",
    # test_endpoint_health
    "test_what_is_held_for_an_endpoint_whose_breaker_opens_is_given_back_untried",
    # test_event_types
    "test_a_change_holds_from_its_answer_on_while_events_come_in",
    "test_a_duplicate_of_what_is_kept_aside_is_told_so",
    "test_a_mended_payload_must_fit_and_is_redacted",
    "test_a_released_event_reaches_those_who_subscribed_meanwhile_once",
    "test_an_operator_sees_and_releases_what_all_organizations_have_aside",
    "test_in_a_batch_each_item_is_judged_alone",
    "test_nobody_touches_what_another_organization_has_aside",
    "test_one_that_is_deleted_is_erased_and_its_dedup_id_is_free",
    # test_explain
    "test_what_waits_for_a_busy_subscription_says_so",
    # test_health
    "test_a_part_that_keeps_crashing_is_counted_and_not_ready_until_it_recovers",
    "test_a_store_that_cannot_be_written_to_is_not_ready_until_it_can",
    "test_each_verb_of_the_store_is_timed_and_what_it_does_not_do_is_counted",
    "test_health_in_detail",
    "test_metrics_can_be_parsed_and_move",
    "test_pauses_and_refusing_leave_it_ready",
    "test_the_details_can_be_seen_while_the_store_cannot",
    "test_the_levels_of_the_queue",
    "test_what_is_stuck_is_a_warning_and_what_merely_waits_is_not",
    "test_whether_it_is_ready_shows_with_each_check",
    # test_hooks
    "test_a_poll_answers_304_as_long_as_nothing_has_changed",
    "test_a_poll_keeps_payloads_byte_for_byte",
    "test_a_poll_shows_events_of_the_type_newest_first_with_ids_that_are_texts",
    "test_a_type_may_have_every_character_that_types_may_have",
    "test_a_type_without_events_has_a_sample_that_is_the_same_each_time",
    "test_an_answer_ends_before_it_is_too_large_for_tools",
    "test_pages_begin_with_0_and_end_with_an_empty_array",
    "test_samples_are_the_newest_three_of_the_type_unless_told_otherwise",
    "test_what_is_held_back_or_deleted_is_not_polled",
    "test_without_a_limit_there_are_fifty",
    # test_inbox
    "test_a_list_goes_on_by_cursor_and_takes_nobody_elses",
    "test_a_named_inbox_has_its_own_types_and_its_own_place",
    "test_an_inbox_says_what_is_in_it",
    "test_by_id_leases_do_not_matter",
    "test_live_a_pull_that_waits_is_answered_when_an_event_comes_in",
    "test_live_a_pull_that_waits_is_answered_when_an_event_is_given_back",
    "test_live_who_hangs_up_while_waiting_leases_nothing",
    "test_nack_extend_and_a_lease_that_runs_out",
    "test_pull_for_some_types_leaves_the_others",
    "test_scopes_are_read_for_consumers_and_manage_for_named_inboxes",
    "test_seek_goes_to_the_start_the_end_a_moment_or_an_event",
    "test_tampered_receipts_and_those_of_others_open_nothing",
    "test_what_consumers_do_is_counted",
    "test_what_is_pulled_is_the_event_with_a_receipt_and_is_acknowledged_with_it",
    # test_ingest
    "test_a_duplicate_is_told_the_first_events_id_and_whether_the_payload_is_the_same",
    "test_above_the_greatest_depth_nothing_is_taken",
    "test_an_event_is_found_as_soon_as_it_is_answered",
    "test_an_event_without_a_dedup_id_is_always_a_new_one",
    "test_everything_that_was_sent_is_given_back",
    "test_of_64_simultaneous_twins_one_is_stored_and_all_are_told_its_id",
    # test_logs
    "test_a_queue_above_its_threshold_is_warned_about_once_a_minute",
    "test_an_empty_queue_is_said_once_when_the_longest_pause_is_reached",
    "test_switched_off_delivery_is_counted_in_one_line",
    # test_restart
    "test_a_key_of_the_settings_is_applied_at_every_start",
    "test_a_restart_gives_back_what_was_in_flight",
    "test_an_end_that_is_hurried_settles_what_is_known_and_gives_the_rest_back",
    # test_roles
    "test_a_process_that_beats_keeps_what_it_holds",
    "test_deliveries_of_a_process_that_fell_silent_are_sent_by_another_within_ten_seconds",
    "test_events_of_a_process_that_fell_silent_are_routed_by_another_within_ten_seconds",
    "test_live_readiness_is_red_while_the_database_is_away_and_work_goes_on_when_it_is_back",
    "test_the_parts_of_each_role_are_those_of_its_readiness",
    "test_what_one_process_takes_in_another_one_delivers",
    # test_search
    "test_each_of_10_000_events_is_found_as_soon_as_it_was_confirmed",
    "test_each_of_many_events_is_found_as_soon_as_it_was_confirmed",
    # test_statistics
    "test_what_waits_and_is_dead_is_told_with_the_statistics",
    # test_stream
    "test_a_stream_ends_with_the_key_that_opened_it",
    "test_a_hundred_readers_each_hear_everything_once",
    "test_a_pattern_chooses_types",
    "test_a_stream_tells_what_comes_in_from_now_on_in_order",
    "test_nobody_is_told_of_another_organizations_events",
    "test_of_large_events_few_are_held_for_a_reader_who_may_be_slow",
    "test_payloads_come_byte_for_byte_whatever_their_line_ends",
    "test_whoever_comes_back_goes_on_behind_the_last_event_it_saw",
    # test_switches
    "test_a_batch_size_and_a_concurrency_turned_live_are_used",
    "test_live_a_switch_is_obeyed_by_the_running_parts_within_a_second",
}

READ_WHAT_THEIR_MODULE_WROTE: Final = {"test_every_route", "test_isolation", "test_lists"}
"""Modules of which every test reads, in lists, what was written once for all of them."""

ABOUT_NO_REDIS: Final = {
    # It starts processes of its own and counts rows: with Redis in tests/faults/postgres/test_buffer.py.
    "test_a_hundred_queued_events_are_all_processed_after_a_kill_in_mid_flight",
    # In Redis everything takes room, for the moment until it has landed.
    "test_what_waits_for_its_time_takes_no_room_and_what_is_routed_at_once_neither",
    # What they say of readiness and details is otherwise with a buffer: see tests/redis.
    "test_a_part_that_keeps_crashing_is_counted_and_not_ready_until_it_recovers",
    "test_a_store_that_cannot_be_written_to_is_not_ready_until_it_can",
    "test_each_verb_of_the_store_is_timed_and_what_it_does_not_do_is_counted",
    "test_health_in_detail",
    "test_live_readiness_is_red_while_the_database_is_away_and_work_goes_on_when_it_is_back",
    "test_pauses_and_refusing_leave_it_ready",
    "test_the_details_can_be_seen_while_the_store_cannot",
    "test_whether_it_is_ready_shows_with_each_check",
}
"""Not asked with the buffer."""


def land_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have events landed before they are answered for."""
    append, turn = Buffer.append, Consumer.run_once
    at_work = asyncio.Lock()

    async def turn_alone(self: Consumer) -> float:
        async with at_work:
            return await turn(self)

    async def appended(self: Buffer, events: Sequence[NewEvent]) -> Answers:
        answers = await append(self, events)
        while True:
            await self.consumer.run_once()
            if not self.consumer.landed:
                return answers

    def append_and_land(self: Buffer, events: Sequence[NewEvent]) -> asyncio.Future[Answers]:
        return asyncio.ensure_future(appended(self, events))

    monkeypatch.setattr(Consumer, "run_once", turn_alone)
    monkeypatch.setattr(Buffer, "append", append_and_land)
