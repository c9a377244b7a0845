"""What is imported is declared: a fresh machine has nothing that came by accident."""

from __future__ import annotations

import ast
import re
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


def test_what_the_product_imports_is_declared() -> None:
    assert undeclared(["src"], declared(project()["project"]["dependencies"])) == {}


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


@pytest.mark.parametrize("requirement", project()["project"]["dependencies"])
def test_the_next_major_version_is_not_taken_unseen(requirement: str) -> None:
    assert re.search(r">=[\d.]+,<[\d.]+", requirement)
