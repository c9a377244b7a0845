"""What is imported is declared: a fresh machine has nothing that came by accident."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
OURS: Final = {"triggers_api", "tests"}


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def normal(name: str) -> str:
    """A distribution's name as an index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    return {normal(re.match(r"[\w.-]+", each)[0]) for each in requirements}  # type: ignore[index]


def imports(*folders: str) -> Iterator[tuple[str, Path]]:
    """Each top-level module that is neither ours nor Python's own, and a file that imports it."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    names = [node.module]
                for name in names:
                    top = name.partition(".")[0]
                    if top not in OURS and top not in sys.stdlib_module_names:
                        yield top, path.relative_to(ROOT)


def undeclared(folders: list[str], allowed: set[str]) -> dict[str, str]:
    """Modules whose distribution is not among those allowed, each with a file that wants it."""
    providers = packages_distributions()
    return {
        module: str(path)
        for module, path in imports(*folders)
        if not {normal(name) for name in providers.get(module, [])} & allowed
    }


def every_extra() -> list[str]:
    """What the product needs in all its extras together."""
    extras = project()["project"]["optional-dependencies"]
    return [requirement for requirements in extras.values() for requirement in requirements]


def test_what_the_product_imports_is_declared() -> None:
    known = project()["project"]["dependencies"] + every_extra()
    # It is pytest that loads the plugin.
    found = undeclared(["src"], declared(known))
    assert found == {"pytest": "src/triggers_api/pytest_plugin.py"}


def without_extras(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program run as if only the base were installed."""
    missing = [re.match(r"[\w.-]+", each)[0] for each in every_extra()]  # type: ignore[index]
    hidden = f"import sys\nfor name in {missing}: sys.modules[name] = None\n"
    return subprocess.run(
        [sys.executable, "-c", hidden + program, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "module",
    ["app", "testing", "cli.serve", "cli.worker", "cli.migrate", "cli.findings", "cli.bench",
     "bench.suite"],
)  # fmt: skip
def test_the_base_works_without_any_extra(module: str) -> None:
    done = without_extras(f"import triggers_api.{module}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["serve", "worker", "migrate", "doctor"])
def test_where_an_extra_is_needed_it_is_named(command: str) -> None:
    done = without_extras(
        "from triggers_api.cli.main import main; main()",
        command,
        "--database-url",
        "postgresql://db/events",
    )
    assert (done.returncode, done.stdout) == (2, "")
    said = "triggers: PostgreSQL needs an extra: pip install 'triggers-api[postgres]'\n"
    assert done.stderr == said


def test_what_tests_and_scripts_import_is_declared() -> None:
    known = project()["project"]["dependencies"] + project()["dependency-groups"]["test"]
    assert undeclared(["tests", "scripts"], declared(known)) == {}


def test_what_is_not_declared_is_found() -> None:
    found = undeclared(["src", "tests"], declared(["msgspec", "pytest>=8"]))
    assert {"litestar", "uvloop", "jsonschema", "standardwebhooks"} <= set(found)
    assert not {"msgspec", "pytest"} & set(found)


def test_what_the_product_declares_it_imports() -> None:
    providers = packages_distributions()
    used = {normal(name) for module, _ in imports("src") for name in providers.get(module, [])}
    assert declared(project()["project"]["dependencies"]) <= used


@pytest.mark.parametrize("requirement", project()["project"]["dependencies"] + every_extra())
def test_the_next_major_version_is_not_taken_unseen(requirement: str) -> None:
    assert re.search(r">=[\d.]+,<[\d.]+", requirement)
