"""Whatever a page refers to exists."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, PAGES, ROOT, anchors_of, name_of, prose_of

LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|md|txt|sh|toml)|(?:[\w.-]+/){2,})`")
MENTION = re.compile(r"docs/([\w/-]+\.md)(?:, (?:section )?([A-Z][a-z]+(?: [a-z]+)?))?")
SOURCES = [path for top in ("src", "tests", "bench", "demo", "deploy") for path in (ROOT / top).rglob("*.py")]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose_of(page)):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors_of(file), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_that_a_page_names_exist(page: Path) -> None:
    for path in PATH.findall(prose_of(page)):
        places = (ROOT, ROOT / "src/holdfast", ROOT / "src", page.parent)
        assert any((place / path).exists() for place in places), f"there is no {path}"


def test_every_page_of_docs_can_be_reached_from_the_readme() -> None:
    found, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page.is_dir():
            page = page / "README.md"
        if page in found or page.suffix != ".md" or not page.exists():
            continue
        found.add(page)
        targets = (link.partition("#")[0] for link in LINK.findall(prose_of(page)) if "://" not in link)
        waiting += [(page.parent / target).resolve() for target in targets if target]
    missing = {name_of(page) for page in DOCS.rglob("*.md")} - {name_of(page) for page in found}
    assert not missing


def test_pages_and_sections_that_the_source_names_exist() -> None:
    mentions = [(path, *found) for path in SOURCES for found in MENTION.findall(path.read_text(encoding="utf-8"))]
    assert len(mentions) > 5
    for path, page, section in mentions:
        assert (DOCS / page).exists(), f"{name_of(path)} names docs/{page}"
        if section:
            anchors = anchors_of(DOCS / page)
            assert section.lower().replace(" ", "-") in anchors, f"{name_of(path)} names {section} of docs/{page}"
