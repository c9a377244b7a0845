"""What the fault tests share: servers, endpoints, a seed, and the check after each run."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The harness is made of modules, which import each other as what mypy takes them for.
sys.path.insert(0, str(Path(__file__).parents[2]))


from tests.faults.rig import Rig

SEED_VARIABLE = "TRIGGERS_TEST_SEED"


@pytest.fixture
def seed() -> int:
    """What everything random of a test comes from; a failure shows it, the variable repeats it."""
    given = os.environ.get(SEED_VARIABLE)
    seed = int(given) if given else random.SystemRandom().randrange(1 << 32)
    print(f"{SEED_VARIABLE}={seed}")  # noqa: T201 - shown with a failure
    return seed


@pytest.fixture
def rig(tmp_path: Path, seed: int) -> Iterator[Rig]:
    """A server, its clients and its receivers."""
    rig = Rig(tmp_path, seed)
    yield rig
    if rig.server.log.exists():
        print(rig.server.log.read_text()[-6000:])  # noqa: T201 - shown with a failure
