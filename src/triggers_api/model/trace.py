"""Which trace something belongs to, as W3C Trace Context writes it (https://www.w3.org/TR/trace-context/).

It is kept in 25 bytes: the trace's id, the id of the span that everything hangs from, and the flags.
"""

import re
from typing import Final

import msgspec

_HEADER: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_FIRST_VERSION: Final = b"00"
_SAMPLED: Final = 1
BYTES: Final = 25


class Trace(msgspec.Struct, frozen=True, gc=False):
    """A place in a trace.

    Attributes:
        trace_id: 16 bytes.
        span_id: 8 bytes; of the span that what follows hangs from.
        sampled: whether somebody writes the trace down.
    """

    trace_id: bytes
    span_id: bytes
    sampled: bool

    @property
    def header(self) -> str:
        """The value of ``traceparent``."""
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-{'01' if self.sampled else '00'}"

    @property
    def kept(self) -> bytes:
        """As it is stored."""
        return self.trace_id + self.span_id + bytes((self.sampled,))


def parse(header: bytes | None) -> Trace | None:
    """What a request's ``traceparent`` says; ``None`` for what does not say anything (3.2)."""
    if header is None:
        return None
    found = _HEADER.fullmatch(header.strip(b" \t"))
    if found is None:
        return None
    trace_id, span_id, flags, more = found.groups()
    if more is not None and header.lstrip().startswith(_FIRST_VERSION):
        return None
    return Trace(
        bytes.fromhex(trace_id.decode()),
        bytes.fromhex(span_id.decode()),
        bool(int(flags, 16) & _SAMPLED),
    )


def of_kept(kept: bytes) -> Trace:
    """What :attr:`Trace.kept` made."""
    return Trace(kept[:16], kept[16:24], bool(kept[24] & _SAMPLED))
