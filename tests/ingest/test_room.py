"""How much may wait: in all, for how long, of one organization, and on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import pytest
from tests.conftest import Log, Run

from triggers_api.errors import Overloaded, StorageFull
from triggers_api.ingest.room import Room, RoomLimits, worst
from triggers_api.model.organization import Organization
from triggers_api.model.pressure import LONGEST_RETRY_S
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import OrganizationBacklog, QueueStats, Store
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

OURS: Final = "org_ours"
THEIRS: Final = "org_theirs"


class Queue:
    """A store that counts what it is told, organizations, a disk, and time."""

    def __init__(self, **limits: Any) -> None:  # noqa: ANN401 - of RoomLimits
        self.depth = 0
        self.age_s = 0.0
        self.depths: dict[str, int] = {}
        self.ages: dict[str, float] = {}
        self.age_limits: dict[str, float | None] = {}
        self.counted = 0
        self.limits: dict[str, int | None] = {}
        self.full = False
        self.now = 100.0
        self.metrics = Metrics()
        self.room = Room(
            cast("Store", self),
            cast("Directory", self),
            limits=RoomLimits(**({"depth": 100} | limits)),
            disk_is_full=lambda: self.full,
            metrics=self.metrics,
            clock=lambda: self.now,
        )

    async def stats(self) -> QueueStats:
        return QueueStats(
            depth=self.depth,
            scheduled=0,
            leased=0,
            stuck=0,
            oldest_age_s=self.age_s,
            deliveries_waiting=0,
            deliveries_leased=0,
        )

    async def organization_depths(
        self, limits: Mapping[str, int]
    ) -> dict[str, OrganizationBacklog]:
        self.counted += 1
        return {
            each: OrganizationBacklog(
                count=self.depths.get(each, 0), oldest_age_s=self.ages.get(each, 0.0)
            )
            for each in limits
        }

    def organization(self, organization_id: str) -> Organization:
        return Organization(
            id=organization_id,
            name="Acme",
            max_queue_depth=self.limits.get(organization_id),
            max_queue_age_s=self.age_limits.get(organization_id),
            created_at=Timestamp(0),
            updated_at=Timestamp(0),
        )

    def post(self, organization_id: str = OURS, count: int = 1) -> None:
        self.room.check(organization_id, count)
        self.room.came(organization_id, count)

    async def look(self, seconds: float = 0.5) -> None:
        self.now += seconds
        await self.room.look()

    def refused(self, reason: str) -> float:
        found = self.metrics.registry.get_sample_value(
            "triggers_ingest_refused_total", {"reason": reason}
        )
        return found or 0.0


def test_the_limit_is_exact_between_looks(run: Run) -> None:
    queue = Queue()
    for _ in range(100):
        queue.post()
    for _ in range(3):
        with pytest.raises(Overloaded):
            queue.post()
    assert queue.refused("depth") == 3
    queue.room.left(OURS)
    queue.post()
    queue.depth = 100
    run(queue.look())
    with pytest.raises(Overloaded):
        queue.post()
    queue.depth = 98
    run(queue.look())
    queue.post(count=2)
    with pytest.raises(Overloaded):
        queue.post()


def test_a_batch_waits_until_it_fits_and_a_larger_one_until_nothing_waits(run: Run) -> None:
    queue = Queue()
    queue.depth = 60
    run(queue.look())
    with pytest.raises(Overloaded):
        queue.post(count=41)
    queue.post(count=40)
    queue.depth = 1
    run(queue.look())
    with pytest.raises(Overloaded):
        queue.post(count=500)
    queue.depth = 0
    run(queue.look())
    queue.post(count=500)


def test_whose_oldest_event_waits_for_too_long_is_refused_and_nobody_else(
    run: Run, log: Log
) -> None:
    queue = Queue(organization_age_s=60.0)
    queue.age_limits[THEIRS] = 0.0
    for each in (OURS, THEIRS):
        queue.post(each)
    queue.depth = 2
    queue.depths, queue.ages = {OURS: 1, THEIRS: 1}, {OURS: 60.0, THEIRS: 999.0}
    run(queue.look(60.0))
    queue.post(OURS)
    queue.ages[OURS] = 60.5
    run(queue.look(60.0))
    for _ in range(3):
        with pytest.raises(Overloaded, match="one of your events has waited"):
            queue.post(OURS)
    queue.post(THEIRS)
    assert queue.refused("organization") == 3
    said = [line for line in log if line["event"].startswith("an event of an organization")]
    assert [(each["organization_id"], each["threshold"]) for each in said] == [(OURS, 60.0)]
    queue.depths, queue.ages = {OURS: 0, THEIRS: 1}, {}
    run(queue.look(60.0))
    queue.post(OURS)


def test_an_organizations_own_age_comes_before_the_settings(run: Run) -> None:
    queue = Queue(organization_age_s=60.0)
    queue.age_limits[OURS] = 5.0
    queue.post(OURS)
    queue.depths, queue.ages = {OURS: 1}, {OURS: 6.0}
    run(queue.look(60.0))
    with pytest.raises(Overloaded, match=r"\(5 s\)"):
        queue.post(OURS)
    for _ in range(2):
        queue.room.left(OURS)
    queue.post(OURS)  # nothing of theirs waits any more, as far as this process knows


def test_who_is_refused_is_told_to_wait_until_there_is_room_at_the_rate_of_now(run: Run) -> None:
    queue = Queue(depth=1000)
    queue.depth = 5000
    run(queue.look())
    with pytest.raises(Overloaded) as refused:
        queue.post()
    assert refused.value.retry_after_s == LONGEST_RETRY_S
    queue.depth = 4900
    run(queue.look())  # 100 in half a second
    with pytest.raises(Overloaded) as refused:
        queue.post()
    assert refused.value.retry_after_s == 20
    assert queue.metrics.registry.get_sample_value("triggers_queue_drain_rate") == 200


def test_nothing_is_taken_while_the_oldest_has_waited_too_long(run: Run) -> None:
    queue = Queue(age_s=30)
    queue.depth, queue.age_s = 50, 30.0
    run(queue.look())
    queue.post()
    queue.age_s = 31.0
    run(queue.look())
    with pytest.raises(Overloaded):
        queue.post()
    assert (queue.room.refusing, queue.refused("age")) == ("age", 1)
    queue.age_s = 2.0
    run(queue.look())
    queue.post()


def test_by_itself_age_is_no_matter(run: Run) -> None:
    queue = Queue()
    queue.depth, queue.age_s = 50, 1e6
    run(queue.look())
    queue.post()
    assert queue.room.level == "normal"


def test_one_organization_does_not_take_the_room_of_the_others(run: Run) -> None:
    queue = Queue(depth=1000, organization_depth=10)
    for _ in range(10):
        queue.post(OURS)
    with pytest.raises(Overloaded):
        queue.post(OURS)
    for _ in range(10):
        queue.post(THEIRS)
    assert queue.refused("organization") == 1
    assert queue.room.refusing is None
    queue.depth, queue.depths = 14, {OURS: 4, THEIRS: 10}
    run(queue.look())
    for _ in range(6):
        queue.post(OURS)
    for organization in (OURS, THEIRS):
        with pytest.raises(Overloaded):
            queue.post(organization)
    queue.room.left(THEIRS)
    queue.post(THEIRS)


def test_an_organization_may_have_a_limit_of_its_own_or_none(run: Run) -> None:
    queue = Queue(depth=1000, organization_depth=10)
    queue.limits = {OURS: 0, THEIRS: 20}
    queue.post(OURS, 50)
    queue.post(THEIRS, 20)
    with pytest.raises(Overloaded):
        queue.post(THEIRS)
    # In force with the next request.
    queue.limits = {OURS: 60, THEIRS: 30}
    queue.post(THEIRS, 10)
    queue.depth, queue.depths = 80, {OURS: 50, THEIRS: 30}
    queue.post(OURS, 1)
    run(queue.look())
    queue.post(OURS, 10)
    with pytest.raises(Overloaded):
        queue.post(OURS)


def test_without_limits_for_organizations_nothing_of_theirs_is_counted(run: Run) -> None:
    queue = Queue()
    queue.post(OURS)
    run(queue.look())
    assert queue.counted == 0


def test_an_organization_that_has_nothing_waiting_is_not_counted_any_more(run: Run) -> None:
    queue = Queue(organization_depth=10)
    queue.post(OURS)
    run(queue.look())
    run(queue.look())
    assert queue.counted == 1


def test_a_nearly_full_disk_is_left_to_what_was_accepted() -> None:
    queue = Queue()
    queue.full = True
    with pytest.raises(StorageFull):
        queue.post()
    assert (queue.room.refusing, queue.refused("disk")) == ("disk", 1)
    queue.full = False
    queue.post()


def test_it_is_said_before_and_when_it_begins_and_when_it_ends(run: Run, log: Log) -> None:
    queue = Queue()

    def said() -> list[tuple[str, str]]:
        found = [(each["log_level"], each["event"]) for each in log]
        log.clear()
        return found

    levels = []
    for depth in (80, 81, 90, 100, 100, 90, 80):
        queue.depth = depth
        run(queue.look())
        levels.append(queue.room.level)
        refusing = queue.metrics.registry.get_sample_value(
            "triggers_ingest_refusing", {"reason": "depth"}
        )
        assert refusing == (depth == 100)
    assert levels == ["normal", "warning", "warning", "critical", "critical", "warning", "normal"]
    assert said() == [
        ("warning", "the queue is nearly full"),
        ("error", "ingest is refused"),
        ("info", "ingest goes on"),
    ]


def test_the_worst_level_is_the_one_that_is_shown() -> None:
    assert worst("normal", "critical", "warning") == "critical"
    assert worst("normal", "warning") == "warning"
