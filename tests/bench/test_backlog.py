"""The rate of each tenth of a backlog, from looks at how far a server was."""

from __future__ import annotations

import pytest

from triggers_api.bench.backlog import Look, tenths


def looks(*routed: float, every_s: float = 1.0, loaded: frozenset[int] = frozenset()) -> list[Look]:
    return [Look(n * every_s, each, n not in loaded) for n, each in enumerate(routed)]


def test_a_server_that_goes_on_as_it_began_has_the_same_rate_in_each_tenth() -> None:
    assert tenths(looks(*range(0, 1001, 50)), 1000) == [50.0] * 10


def test_looks_need_not_fall_on_tenths() -> None:
    assert tenths(looks(0, 330, 660, 990, 1000), 1000)[:3] == [330.0] * 3


def test_one_that_gets_slower_is_seen_to() -> None:
    rates = tenths(looks(0, 100, 200, 250, 300, every_s=1.0), 300)
    assert (rates[0], rates[-1]) == (100.0, 50.0)


def test_a_tenth_with_load_beside_it_has_no_rate() -> None:
    rates = tenths(looks(*range(0, 1001, 100), loaded=frozenset({5})), 1000)
    assert rates[4] is None
    assert [rate for rate in rates if rate is not None] == [100.0] * 9


@pytest.mark.parametrize("total", [1000, 2000])
def test_a_tenth_that_nobody_saw_has_no_rate(total: int) -> None:
    assert tenths(looks(0, 100), total)[-1] is None
