"""A part of the search index: which of some two thousand events have which terms, in small blocks.

Events are known by their place in the part. Terms (``model/search.py``) are divided into blocks by their
first bits, so that a search reads one block for each term. A block is, all numbers little-endian::

    count           2 bytes
    terms           4 bytes each, rising
    lengths         2 bytes each
    places          of each term: 2 bytes each, rising, or a bit map of all places where that is shorter
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from struct import Struct as Layout
from struct import pack, unpack_from
from typing import Final

import msgspec

EVENTS_LIMIT: Final = 2048
"""Events of a part."""
BYTES_LIMIT: Final = 4 << 20
"""Bytes of payloads of a part: one with as many is complete, however few events it has."""
_TERMS_LIMIT: Final = 150_000
_TERMS_AT_ONCE: Final = 500
_BLOCK_BYTES: Final = 1024
"""What a block is to have, about: several fit on a page."""
MOST_BITS: Final = 12
_MAP_BYTES: Final = EVENTS_LIMIT // 8
_COUNT: Final = Layout("<H")
_TERM: Final = Layout("<I")
_EVERY_TERM_BITS: Final = 32


class Part(msgspec.Struct, frozen=True):
    """What is stored of a part.

    Attributes:
        bits: how many bits of a term choose its block.
        blocks: by their numbers; those that would be empty are left out.
        whole: a bit map of the events whose payloads are not in it, and are looked at each time.
    """

    bits: int
    blocks: Mapping[int, bytes]
    whole: bytes


class PartBuilder:
    """Takes events in, one after the other."""

    def __init__(self) -> None:
        self.events = 0
        self._bytes = 0
        self._places: dict[int, list[int]] = {}
        self._whole = 0
        self._entries = 0

    @property
    def full(self) -> bool:
        """Whether no more should come in."""
        return (
            self.events >= EVENTS_LIMIT
            or self._bytes >= BYTES_LIMIT
            or len(self._places) >= _TERMS_LIMIT
        )

    def add(self, own: Iterable[int], of_payload: Iterable[int] | None, *, size: int) -> None:
        """Take in the next event.

        Args:
            own: terms of its own fields.
            of_payload: those of its payload; ``None`` where these are not to be indexed.
            size: of its payload, in bytes.
        """
        place, places = self.events, self._places
        terms = set(own)
        if of_payload is None:
            self._whole |= 1 << place
        else:
            terms.update(of_payload)
        for term in terms:
            places.setdefault(term, []).append(place)
        self._entries += len(terms)
        self.events += 1
        self._bytes += size

    def leave_out(self) -> None:
        """Keep the place of an event that is gone."""
        self.events += 1

    def build(self) -> Part:
        """The part as it is stored."""
        building = self.building()
        while True:
            try:
                next(building)
            except StopIteration as end:
                part: Part = end.value
                return part

    def building(self) -> Generator[None, None, Part]:
        """:meth:`build` in small steps, between which others may have their turn."""
        places = self._places
        size = len(places) * (_TERM.size + _COUNT.size) + self._entries * _COUNT.size
        bits = min(MOST_BITS, (size // _BLOCK_BYTES).bit_length())
        within: dict[int, list[int]] = {}
        for at, term in enumerate(places):
            within.setdefault(block_of(term, bits), []).append(term)
            if at % _TERMS_AT_ONCE == 0:
                yield
        blocks = {}
        for number, terms in within.items():
            terms.sort()
            blocks[number] = _block([(term, _packed(places[term])) for term in terms])
            yield
        whole = self._whole.to_bytes((self._whole.bit_length() + 7) // 8, "little")
        return Part(bits, blocks, whole)


def block_of(term: int, bits: int) -> int:
    """The number of the block that a term is in."""
    return term >> (_EVERY_TERM_BITS - bits)


def places_of(block: bytes | None, term: int) -> int:
    """The places of the events that have a term, as a bit map in a number."""
    if block is None:
        return 0
    (count,) = _COUNT.unpack_from(block)
    start, end = _COUNT.size, _COUNT.size + count * _TERM.size
    wanted = _TERM.pack(term)
    at = block.find(wanted, start, end)
    while at >= 0 and (at - start) % _TERM.size:
        at = block.find(wanted, at + 1, end)
    if at < 0:
        return 0
    index = (at - start) // _TERM.size
    lengths = unpack_from(f"<{index + 1}H", block, end)
    begin = end + count * _COUNT.size + sum(lengths[:-1])
    return _unpacked(block[begin : begin + lengths[-1]])


def places_in(whole: bytes) -> int:
    """A bit map as a number."""
    return int.from_bytes(whole, "little")


def places_at(mask: int) -> Iterator[int]:
    """The places in a bit map that is a number, rising."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def with_place(whole: bytes, place: int) -> bytes:
    """A bit map with one more place in it."""
    found = places_in(whole) | 1 << place
    return found.to_bytes((found.bit_length() + 7) // 8, "little")


def _packed(places: list[int]) -> bytes:
    if len(places) * 2 < _MAP_BYTES:
        return pack(f"<{len(places)}H", *places)
    found = 0
    for place in places:
        found |= 1 << place
    return found.to_bytes(_MAP_BYTES, "little")


def _unpacked(packed: bytes) -> int:
    if len(packed) == _MAP_BYTES:
        return int.from_bytes(packed, "little")
    found = 0
    for place in unpack_from(f"<{len(packed) // 2}H", packed):
        found |= 1 << place
    return found


def _block(entries: list[tuple[int, bytes]]) -> bytes:
    count = len(entries)
    return b"".join(
        (
            _COUNT.pack(count),
            pack(f"<{count}I", *[term for term, _ in entries]),
            pack(f"<{count}H", *[len(packed) for _, packed in entries]),
            *[packed for _, packed in entries],
        )
    )
