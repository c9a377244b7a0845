"""What a ``traceparent`` says, and what it does not."""

from __future__ import annotations

import pytest

from triggers_api.model.trace import BYTES, Trace, of_kept, parse

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f" 00-{TRACE}-{SPAN}-01\t", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-one-day", True),
    ],
)
def test_what_the_standard_allows_is_read(header: str, *, sampled: bool) -> None:
    found = parse(header.encode())
    assert found == Trace(bytes.fromhex(TRACE), bytes.fromhex(SPAN), sampled)


@pytest.mark.parametrize(
    "header",
    [
        "", "00", f"00-{TRACE}-{SPAN}", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-0", f"00-{TRACE}-{SPAN}-011", f"cc-{TRACE}-{SPAN}-01x", "é" * 55,
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)  # fmt: skip
def test_anything_else_says_nothing(header: str) -> None:
    assert parse(header.encode()) is None


def test_none_says_nothing() -> None:
    assert parse(None) is None


@pytest.mark.parametrize("sampled", [True, False])
def test_what_is_kept_is_what_it_was(*, sampled: bool) -> None:
    trace = Trace(bytes.fromhex(TRACE), bytes.fromhex(SPAN), sampled)
    assert len(trace.kept) == BYTES
    assert of_kept(trace.kept) == trace
    assert parse(trace.header.encode()) == trace
