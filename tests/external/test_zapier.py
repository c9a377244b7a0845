"""The integration in ``examples/zapier``, run by Zapier's own platform code against the service.

Its packages come from the registry of npm, by the versions and digests of its lock file.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Final

import pytest
from tests.external.conftest import Program

from triggers_api.testing import API_KEY, Service

EXAMPLE: Final = Path(__file__).resolve().parents[2] / "examples" / "zapier"
INSTALLED_WITHIN_S: Final = 300.0
TESTED_WITHIN_S: Final = 120.0

pytestmark = pytest.mark.timeout(INSTALLED_WITHIN_S + TESTED_WITHIN_S + 60)


async def command(*words: str, folder: Path, within_s: float, **environment: str) -> str:
    """What a program says, which must end well."""
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=folder,
        env=os.environ | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(within_s):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        said, _ = await process.communicate()
        pytest.fail(f"{words} did not end within {within_s} s:\n{said.decode()}")
    assert process.returncode == 0, said.decode()
    return said.decode()


def test_the_integration_passes_its_own_tests_against_a_running_service(
    program: Program, tmp_path: Path
) -> None:
    program("node")
    npm = program("npm")
    folder = tmp_path / "zapier"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))

    async def main() -> str:
        await command(npm, "ci", "--ignore-scripts", folder=folder, within_s=INSTALLED_WITHIN_S)
        async with Service(tmp_path) as service:
            return await command(
                npm, "test",
                folder=folder, within_s=TESTED_WITHIN_S,
                TRIGGERS_URL=service.url, TRIGGERS_API_KEY=API_KEY,
            )  # fmt: skip

    said = asyncio.run(main())
    assert "# fail 0" in said, said
    assert "# skipped 0" in said, said
    assert int(said.partition("# pass ")[2].split()[0]) >= 18, said


def test_the_lock_file_names_every_package_by_its_digest_and_no_host() -> None:
    lock = json.loads((EXAMPLE / "package-lock.json").read_text())
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert len(packages) > 50
    for name, each in packages.items():
        assert each["integrity"].startswith("sha512-"), name
        assert "resolved" not in each, name
