"""Sessions of the operator page that were ended: known to every process, for as long as it matters."""

from __future__ import annotations

from tests.contract.conftest import World


def test_a_session_that_was_ended_is_known_and_no_other(world: World) -> None:
    world.run(world.store.log_out("one", world.store.now().after(seconds=60)))
    assert world.run(world.store.logged_out("one"))
    assert not world.run(world.store.logged_out("another"))


def test_ending_it_again_changes_nothing(world: World) -> None:
    until = world.store.now().after(seconds=60)
    world.run(world.store.log_out("one", until))
    world.run(world.store.log_out("one", until))
    assert world.run(world.store.logged_out("one"))


def test_it_is_known_after_a_crash(world: World) -> None:
    world.run(world.store.log_out("one", world.store.now().after(seconds=60)))
    world.run(world.engine.crash())
    assert world.run(world.store.logged_out("one"))


def test_it_is_forgotten_with_the_next_one_once_it_would_have_ended_by_itself(
    world: World,
) -> None:
    world.run(world.store.log_out("one", world.store.now().after(seconds=60)))
    world.clock.advance(seconds=61)
    world.run(world.store.log_out("another", world.store.now().after(seconds=60)))
    assert not world.run(world.store.logged_out("one"))
