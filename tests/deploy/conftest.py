"""What the tests of ``deploy/`` share with those of the commands: the service as a user starts it."""

from __future__ import annotations

from tests.cli.conftest import serve

__all__ = ["serve"]
