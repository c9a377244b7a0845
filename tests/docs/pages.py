"""The documentation as the tests read it: pages, code blocks, links, headings."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT: Final = Path(__file__).resolve().parents[2]
REFERENCE: Final = ROOT / "docs" / "reference"

_IGNORED: Final = {".venv", ".git", "build", "dist", "node_modules"}


class CodeBlock(NamedTuple):
    """A fenced block: the word behind the fence, what is inside, and where it begins."""

    language: str
    text: str
    line: int


def every_page() -> list[Path]:
    """Every Markdown file of the project."""
    return sorted(
        page
        for page in ROOT.rglob("*.md")
        if not _IGNORED.intersection(page.relative_to(ROOT).parts)
        and not any(part.startswith(".") for part in page.relative_to(ROOT).parts)
    )


def name_of(page: Path) -> str:
    """A page's name in the project, for the names of tests and for messages."""
    return page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name


@cache
def tokens(page: Path) -> list[Token]:
    """A page, parsed."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


def code_blocks(page: Path) -> Iterator[CodeBlock]:
    """The fenced blocks of a page."""
    for token in tokens(page):
        if token.type == "fence":
            assert token.map is not None
            yield CodeBlock(token.info.strip(), token.content, token.map[0] + 1)


def code_spans(page: Path) -> Iterator[str]:
    """What stands between backticks in a page's text."""
    for token in tokens(page):
        for child in token.children or ():
            if child.type == "code_inline":
                yield child.content


def links(page: Path) -> Iterator[str]:
    """The targets of a page's links."""
    for token in tokens(page):
        for child in token.children or ():
            target = child.attrs.get("href") or child.attrs.get("src")
            if target is not None:
                yield str(target)


def anchors(page: Path) -> set[str]:
    """What a link into a page may name: its headings, as forges spell them, and its own marks."""
    found: set[str] = set()
    for heading, inline in pairwise(tokens(page)):
        if heading.type == "heading_open":
            words = "".join(
                child.content for child in inline.children or () if child.type != "html_inline"
            )
            slug = re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")
            repeated = sum(each == slug or each.startswith(f"{slug}-") for each in found)
            found.add(f"{slug}-{repeated}" if slug in found else slug)
    found.update(re.findall(r'<a id="([^"]+)">', page.read_text()))
    return found


@cache
def reference() -> ModuleType:
    """The program that keeps the tables of the reference."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference"] = module
    spec.loader.exec_module(module)
    return module
