"""Links lead somewhere."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest
from tests.docs.pages import ROOT, anchors, every_page, links, name_of


def broken(page: Path) -> list[str]:
    """The links of a page into this project that lead nowhere."""
    found = []
    for link in links(page):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", every_page(), ids=name_of)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert not broken(page)


@pytest.mark.parametrize("page", every_page(), ids=name_of)
def test_no_link_of_a_page_leaves_the_project_by_the_file_system(page: Path) -> None:
    for link in links(page):
        if not link.startswith(("https://", "http://", "mailto:", "#")):
            assert (page.parent / link.partition("#")[0]).resolve().is_relative_to(ROOT)


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One thing\n\n[a](#one-thing) [b](page.md#one-thing) [c](#other) [d](gone.md) "
        "[e](page.md#other) [f](https://example.org/x)\n\n`[g](#in-code)`\n"
    )
    assert broken(page) == ["#other", "gone.md", "page.md#other"]


def test_every_page_of_the_documentation_is_in_its_index() -> None:
    docs = ROOT / "docs"
    listed = {(docs / link.partition("#")[0]).resolve() for link in links(docs / "README.md")}
    for index in [page for page in listed if page.name == "README.md"]:
        listed |= {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    pages = {page for page in every_page() if page.is_relative_to(docs)}
    assert pages - listed - {docs / "README.md"} == set()
