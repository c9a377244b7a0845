"""Who is there, who ended in order, and who fell silent: decided from lists of who was heard when."""

from __future__ import annotations

from typing import Final

import pytest

from triggers_api.model.peers import Peers
from triggers_api.model.timestamp import Timestamp
from triggers_api.model.worker import Worker

BOTH: Final = ("processor", "dispatcher")
EVERYTHING: Final = ("api", *BOTH)


def worker(
    name: str, *, seen_s: float, roles: tuple[str, ...] = BOTH, since_s: float = 0
) -> Worker:
    return Worker(
        id=name,
        roles=roles,
        version="1",
        started_at=Timestamp(int(since_s * 1000)),
        seen_at=Timestamp(int(seen_s * 1000)),
    )


class Eyes:
    """An API process that looks at lists."""

    def __init__(self, roles: tuple[str, ...] = ("api",)) -> None:
        self.roles = roles
        self.peers = Peers(worker("own", seen_s=0, roles=roles))

    def look(self, at_s: float, *listed: Worker) -> list[str]:
        own = worker("own", seen_s=at_s, roles=self.roles)
        lost = self.peers.look(own, [own, *listed], Timestamp(int(at_s * 1000)))
        return [each.id for each in lost]


def test_a_process_that_does_everything_misses_nobody() -> None:
    eyes = Eyes(EVERYTHING)
    assert eyes.peers.state == "ok"
    assert not eyes.look(1)
    assert (eyes.peers.state, eyes.peers.roles) == (
        "ok",
        {"api": 1, "processor": 1, "dispatcher": 1},
    )


@pytest.mark.parametrize("others", [(), (worker("other", seen_s=1, roles=("processor",)),)])
def test_where_nobody_routes_or_delivers_that_is_said(others: tuple[Worker, ...]) -> None:
    eyes = Eyes()
    eyes.look(1, *others)
    assert eyes.peers.state == "none"
    eyes.look(2, *others, worker("another", seen_s=2))
    assert eyes.peers.state == "ok"


@pytest.mark.parametrize("listed", [True, False], ids=["still listed", "not listed any more"])
def test_who_falls_silent_is_lost_once(*, listed: bool) -> None:
    eyes = Eyes()
    one, two = worker("one", seen_s=3.5), worker("two", seen_s=3.5)
    assert not eyes.look(4, one, two)
    assert not eyes.look(9.4, one, worker("two", seen_s=9))
    silent = (one,) if listed else ()
    assert eyes.look(9.5, *silent, worker("two", seen_s=9)) == ["one"]
    assert (eyes.peers.state, eyes.peers.roles["processor"]) == ("lost", 1)
    assert not eyes.look(10, *silent, worker("two", seen_s=9))
    assert eyes.peers.state == "lost"


def test_who_ends_in_order_is_not_missed() -> None:
    eyes = Eyes()
    eyes.look(4, worker("one", seen_s=2.1), worker("two", seen_s=3))
    assert not eyes.look(5.9, worker("two", seen_s=5))
    assert eyes.peers.state == "ok"


def lost_one() -> Eyes:
    eyes = Eyes()
    eyes.look(1, worker("one", seen_s=1), worker("two", seen_s=1))
    assert eyes.look(8, worker("two", seen_s=8)) == ["one"]
    assert eyes.peers.state == "lost"
    return eyes


def test_one_that_begins_later_with_the_same_roles_takes_the_place_of_a_lost_one() -> None:
    eyes = lost_one()
    two = worker("two", seen_s=9)
    eyes.look(9, two, worker("other", seen_s=9, roles=("api",), since_s=9))
    assert eyes.peers.state == "lost"
    eyes.look(9, two, worker("three", seen_s=9, since_s=3))
    assert eyes.peers.state == "ok"


def test_of_two_that_were_lost_one_that_begins_later_replaces_one() -> None:
    eyes = Eyes()
    eyes.look(1, worker("one", seen_s=1), worker("two", seen_s=1))
    assert sorted(eyes.look(8)) == ["one", "two"]
    assert eyes.peers.state == "none"
    three = worker("three", seen_s=9, since_s=9)
    eyes.look(9, three)
    assert eyes.peers.state == "lost"
    eyes.look(9, three, worker("four", seen_s=9, since_s=9))
    assert eyes.peers.state == "ok"


def test_one_that_took_a_place_and_is_lost_itself_leaves_one_place() -> None:
    eyes = lost_one()
    two = worker("two", seen_s=9)
    eyes.look(9, two, worker("three", seen_s=9, since_s=9))
    assert eyes.look(16, worker("two", seen_s=16)) == ["three"]
    assert eyes.peers.state == "lost"
    eyes.look(17, worker("two", seen_s=16), worker("four", seen_s=17, since_s=17))
    assert eyes.peers.state == "ok"


def test_one_that_is_heard_again_is_not_lost() -> None:
    eyes = lost_one()
    eyes.look(9, worker("one", seen_s=9), worker("two", seen_s=8))
    assert eyes.peers.state == "ok"


def test_after_a_minute_a_lost_one_is_not_missed_any_more() -> None:
    eyes = lost_one()
    eyes.look(66.9, worker("two", seen_s=66))
    assert eyes.peers.state == "lost"
    eyes.look(67, worker("two", seen_s=66))
    assert eyes.peers.state == "ok"
