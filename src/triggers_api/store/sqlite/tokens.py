"""Lease tokens as the rows hold them."""

from typing import Final

NOBODY: Final = 1 << 62
"""The lease token of a row in nobody's hands; as wide as a real one."""

TOKEN_RANGE: Final = (1 << 48, 1 << 62)
"""Real tokens lie in here: always eight bytes in a row."""
