"""The wheel, built and installed as users get it. Needs a package index, as set-up does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Final

import pytest
from tests.cli.conftest import environment

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "src" / "triggers_api"

pytestmark = pytest.mark.timeout(600)  # with what an index is asked for


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},  # with the index it names
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, ROOT, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_it_holds_every_file_of_the_package_and_its_licences(wheel: Path) -> None:
    wanted = {
        f"triggers_api/{path.relative_to(SOURCE)}"
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        (metadata,) = (name for name in held if name.endswith(".dist-info/METADATA"))
        about = message_from_bytes(archive.read(metadata))
    assert {name for name in held if name.startswith("triggers_api/")} == wanted
    assert {Path(name).suffix for name in wanted} >= {
        ".py",
        ".typed",
        ".sql",
        ".css",
        ".gz",
        ".html",
        ".js",
        ".svg",
        ".txt",
    }
    assert about["License-Expression"] == "Apache-2.0 AND MIT AND 0BSD"
    licences = about.get_all("License-File") or []
    assert {Path(name).name for name in licences} == {
        "LICENSE", "NOTICE", "LICENSE-octokit-webhooks-examples.txt", "LICENSE-htmx.txt",
        "LICENSE-uplot.txt",
    }  # fmt: skip
    for name in licences:
        assert metadata.replace("METADATA", f"licenses/{name}") in held


def test_installed_by_itself_it_serves_real_events(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "venv", folder=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, folder=tmp_path)
    run(python, "-m", "pip", "check", folder=tmp_path)
    triggers = tmp_path / "venv" / "bin" / "triggers"
    version = wheel.name.split("-")[1]
    assert run(triggers, "--version", folder=tmp_path) == f"triggers, version {version}\n"
    serving = subprocess.Popen(
        [triggers, "serve", "--demo", "--port", "0"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None
        delivered = next(line for line in serving.stdout if "✓ delivered" in line)
        assert re.search(r"github\.\S+ .* signature ok", delivered)
    finally:
        serving.terminate()
        assert serving.wait(30) == 0
        assert serving.stdout is not None
        serving.stdout.close()
