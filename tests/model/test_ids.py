"""Identifiers: UUIDv7 behind a prefix, in an order that no clock can break."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model import ids

sequences = st.integers(0, (1 << 63) - 1)
tails = st.integers(0, (1 << ids.TAIL_BITS) - 1)
prefixes = st.sampled_from(
    [ids.EVENT, ids.SUBSCRIPTION, ids.DELIVERY, ids.ATTEMPT, ids.ORGANIZATION, ids.KEY]
)
MOMENT = 1_795_348_800_000


def sequence_of(identifier: str) -> int:
    parsed = ids.parse(ids.EVENT, identifier)
    assert parsed is not None
    return parsed[0]


@given(prefixes, sequences, tails)
def test_parsing_gives_back_what_the_text_was_made_of(
    prefix: str, sequence: int, tail: int
) -> None:
    assert ids.parse(prefix, ids.text(prefix, sequence, tail)) == (sequence, tail)


@given(prefixes, sequences, tails)
def test_an_id_is_a_valid_uuid_version_7(prefix: str, sequence: int, tail: int) -> None:
    head, _, digits = ids.text(prefix, sequence, tail).partition("_")
    assert head == prefix
    assert len(digits) == 32
    made = uuid.UUID(hex=digits)
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == sequence >> 20, "the first 48 bits are the milliseconds"


@given(st.lists(st.tuples(sequences, tails), min_size=2, max_size=20))
def test_ids_sort_as_texts_in_the_order_of_their_sequences(made: list[tuple[int, int]]) -> None:
    distinct = dict(made)
    texts = [ids.text(ids.EVENT, sequence, tail) for sequence, tail in distinct.items()]
    assert [sequence_of(text) for text in sorted(texts)] == sorted(distinct)


@given(prefixes, st.integers(1, (1 << 63) - 1000), tails)
def test_a_generator_with_a_tail_writes_ids_like_any_other(
    prefix: str, sequence: int, tail: int
) -> None:
    generator = ids.IdGenerator(lambda: 0, tail=tail, after=sequence - 1)
    assert generator.new(prefix) == ids.text(prefix, sequence, tail)
    assert generator.several(prefix, 300) == [
        ids.text(prefix, sequence + number, tail) for number in range(1, 301)
    ]


@given(st.lists(st.tuples(st.integers(0, (1 << 43) - 1), st.integers(0, 5))), st.none() | tails)
def test_several_ids_rise_like_single_ones(asked: list[tuple[int, int]], tail: int | None) -> None:
    readings = iter([moment for moment, _ in asked for _ in range(2)])
    generator = ids.IdGenerator(lambda: next(readings), tail=tail)
    made = []
    for _, count in asked:
        made += [generator.new(ids.EVENT), *generator.several(ids.EVENT, count)]
        if not count:
            next(readings)
    assert made == sorted(set(made))
    assert len(made) == sum(1 + count for _, count in asked)


@given(
    st.lists(st.integers(0, (1 << 43) - 1), min_size=1, max_size=50),
    st.none() | tails,
    st.integers(0, MOMENT << 20),
)
def test_ids_rise_whatever_the_clock_does(clock: list[int], tail: int | None, after: int) -> None:
    readings = iter(clock)
    generator = ids.IdGenerator(lambda: next(readings), tail=tail, after=after)
    made = [generator.new(ids.EVENT) for _ in clock]
    assert made == sorted(set(made))
    assert sequence_of(made[0]) > after


def test_ids_rise_under_a_clock_that_stands_still() -> None:
    generator = ids.IdGenerator(lambda: MOMENT, tail=7)
    made = [generator.new(ids.EVENT) for _ in range(1000)]
    assert made == sorted(set(made))
    assert {ids.received_ms(each) for each in made} == {MOMENT}


def test_ids_rise_under_a_clock_that_goes_back_an_hour() -> None:
    readings = iter([MOMENT, MOMENT - 3_600_000, MOMENT - 3_599_999, MOMENT + 1])
    generator = ids.IdGenerator(lambda: next(readings), tail=7)
    made = [generator.new(ids.EVENT) for _ in range(4)]
    assert made == sorted(set(made))
    assert ids.received_ms(made[2]) == MOMENT
    assert ids.received_ms(made[3]) == MOMENT + 1


def test_the_millisecond_after_a_full_one_is_borrowed_from() -> None:
    full = ids.first_sequence(MOMENT + 1) - 1
    generator = ids.IdGenerator(lambda: MOMENT, tail=7, after=full)
    assert sequence_of(generator.new(ids.EVENT)) == ids.first_sequence(MOMENT + 1)


def test_every_id_of_one_database_shares_its_tail_and_others_draw_theirs() -> None:
    fixed = ids.IdGenerator(lambda: MOMENT, tail=42)
    parsed = [ids.parse(ids.KEY, fixed.new(ids.KEY)) for _ in range(5)]
    assert {each[1] for each in parsed if each is not None} == {42}
    drawing = ids.IdGenerator(lambda: MOMENT)
    drawn = [ids.parse(ids.KEY, drawing.new(ids.KEY)) for _ in range(5)]
    assert len({each[1] for each in drawn if each is not None}) == 5


@given(st.integers(0, (1 << 43) - 1), st.integers(0, (1 << 20) - 1), tails)
def test_an_id_tells_the_moment_it_was_made(moment: int, counter: int, tail: int) -> None:
    sequence = ids.first_sequence(moment) + counter
    assert ids.made_at(sequence) == moment
    assert ids.received_ms(ids.text(ids.EVENT, sequence, tail)) == moment
    assert ids.first_sequence(moment) <= sequence < ids.first_sequence(moment + 1)


GOOD = "evt_019ab3c54f2e7000a1b2c3d4e5f60718"


def test_the_example_of_the_documentation_is_an_id() -> None:
    assert ids.parse(ids.EVENT, GOOD) is not None


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "evt",
        "evt_",
        GOOD.upper(),
        GOOD.replace("019a", "019A"),
        GOOD.replace("evt_", "EVT_"),
        GOOD.replace("evt_", "dlv_"),
        GOOD.replace("evt_", "evt-"),
        GOOD.replace("evt_", "evt"),
        GOOD.replace("evt_", ""),
        GOOD[:-1],
        GOOD + "0",
        GOOD + "\n",
        " " + GOOD,
        GOOD.replace("3c54f", "3c5_4f")[:-1],
        GOOD.replace("019a", "0_9a"),
        GOOD.replace("1", "\N{ARABIC-INDIC DIGIT ONE}"),
        GOOD.replace("0", "\N{FULLWIDTH DIGIT ZERO}"),
        GOOD.replace("7000", "4000"),
        GOOD.replace("a1b2", "01b2"),
        GOOD.replace("a1b2", "c1b2"),
        "evt_019ab3c5-4f2e-7000-a1b2-c3d4e5f60718",
        "evt_0x19ab3c54f2e7000a1b2c3d4e5f6071",
        "evt_" + "g" * 32,
        "evt_' OR 1=1 --                     ",
        "evt_\x00",
    ],
)
def test_what_is_not_exactly_an_id_is_none(malformed: str) -> None:
    assert ids.parse(ids.EVENT, malformed) is None


@given(st.text(max_size=40))
def test_any_text_is_an_id_or_none(text: str) -> None:
    parsed = ids.parse(ids.EVENT, text)
    assert parsed is None or ids.text(ids.EVENT, *parsed) == text
