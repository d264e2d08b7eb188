"""The page of the architecture and the decisions say what is so."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import repository
from holdfast.core import ports
from tests.docs.pages import DOCS, ROOT, name_of, table_with, text_of

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RECORDS = sorted((DOCS / "decisions").glob("0*.md"))


def test_the_table_of_layers_is_the_contract() -> None:
    (contract,) = (each for each in PROJECT["tool"]["importlinter"]["contracts"] if each["type"] == "layers")
    rows = table_with(DOCS / "architecture.md", "layer", "packages")
    assert [int(row[0]) for row in rows] == list(range(len(rows), 0, -1))
    shown = [{name.strip() for name in row[1].split(",")} for row in rows]
    assert shown == [{name.strip() for name in layer.split("|")} for layer in contract["layers"]]


def test_packages_exist_unless_they_stand_in_parentheses() -> None:
    names = {name.strip() for row in table_with(DOCS / "architecture.md", "layer") for name in row[1].split(",")}
    there = {path.parent.name for path in (ROOT / "src/holdfast").glob("*/__init__.py")}
    assert {name for name in names if not name.startswith("(")} == there


def test_modules_of_the_repository_import_downwards_in_the_order_it_gives() -> None:
    (chain,) = re.findall(r"downwards too: (.*)\.$", repository.__doc__ or "", re.MULTILINE | re.DOTALL)
    rank = {name.strip(): rank for rank, group in enumerate(chain.split("<")) for name in group.split(",")}
    folder = ROOT / "src/holdfast/repository"
    modules = [path.relative_to(folder) for path in folder.rglob("*.py") if path != folder / "__init__.py"]
    names = {path: path.parts[0].removesuffix(".py") for path in modules}
    assert set(names.values()) == rank.keys()
    for path, name in names.items():
        for imported in siblings(folder / path):
            assert rank[imported] <= rank[name], f"{path} imports {imported}"


def siblings(path: Path) -> Iterator[str]:
    """Modules of the repository that one of them imports."""
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.ImportFrom) and node.module == "holdfast.repository":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("holdfast.repository."):
            yield (node.module or "").split(".")[2]


def test_every_port_is_in_the_table_of_ports() -> None:
    shown = {name for row in table_with(DOCS / "architecture.md", "port") for name in re.findall(r"`(\w+)`", row[0])}
    protocols = {name for name, kind in vars(ports).items() if getattr(kind, "_is_protocol", False)}
    assert protocols <= shown | {"Protocol"}


@pytest.mark.parametrize("record", RECORDS, ids=name_of)
def test_a_decision_is_short_and_says_why(record: Path) -> None:
    text = text_of(record)
    assert len(text.splitlines()) <= 40
    assert re.match(rf"# {record.name[:4]} \w", text)
    parts = ("**Context.**", "**Decision.**", "**Consequences.**", "**Alternatives.**")
    assert [text.count(part) for part in parts] == [1, 1, 1, 1]
    assert sorted(parts, key=text.index) == list(parts)
    assert f"]({record.name})" in text_of(DOCS / "decisions" / "README.md")


def test_every_library_has_a_reason_and_a_licence() -> None:
    rows = table_with(DOCS / "decisions" / "0007-libraries-and-licences.md", "package", "licence")
    ours = {re.split(r"[<>=]", requirement)[0] for requirement in PROJECT["project"]["dependencies"]}
    assert {row[0] for row in rows if "(Debian)" not in row[0]} == ours
    assert all(row[1] and row[3] for row in rows)
    assert PROJECT["project"]["license"] in text_of(DOCS / "decisions" / "0007-libraries-and-licences.md")
