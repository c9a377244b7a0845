"""The fixtures ``triggers`` and ``triggers_settings``, for any test run on a machine with this package.

pytest loads this in every run, also those that have nothing to do with it: so nothing is imported here
that is not needed to say that the fixtures exist.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from triggers_api.testing import LocalService


@pytest.fixture
def triggers_settings() -> dict[str, Any]:
    """What the service of ``triggers`` is set to; override it to set something else.

    Any field of the settings, and ``real_time=True`` for a service that works by itself.
    """
    return {}


@pytest.fixture
def triggers(tmp_path: Path, triggers_settings: dict[str, Any]) -> "Iterator[LocalService]":
    """The service, with a database of the test's own and time standing still."""
    from triggers_api.testing import LocalService  # noqa: PLC0415 - only where it is used

    folder = tmp_path / "triggers"
    folder.mkdir()
    with LocalService(folder, **triggers_settings) as service:
        yield service
