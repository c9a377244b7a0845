"""Programs that pip cannot install. `scripts/test-external` says loudly which of them are missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from tests.cli.conftest import serve

__all__ = ["serve"]

Program = Callable[[str], str]


@pytest.fixture(scope="session")
def program() -> Program:
    """The path of a program; a test whose program is missing is skipped."""

    def program(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is missing")
        return path

    return program
