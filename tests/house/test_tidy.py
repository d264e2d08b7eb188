"""The size and the shape of what is written: rules that no linter knows, each with what breaks it."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
LONGEST_BODY = 50
LONGEST_MODULE = 400
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "tools"}
VAGUE_ALLOWED = {"src/holdfast/cli/common.py"}
"""Options that every command has in common, which is what the word means there."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def body_lines(function: Function) -> int:
    """Lines of a function without its signature, decorators and docstring."""
    body = function.body
    if ast.get_docstring(function, clean=False) is not None:
        body = body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def too_long(source: str) -> list[str]:
    return [each.name for each in functions(ast.parse(source)) if body_lines(each) > LONGEST_BODY]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCES) > 50


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_modules_and_functions_are_short(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= LONGEST_MODULE
    assert too_long(source) == []


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_modules_say_what_they_are_for_and_are_named_after_it(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), "a module without a docstring"
    assert not VAGUE & {path.stem, path.parent.name} or named(path) in VAGUE_ALLOWED


def test_a_function_that_is_too_long_is_found() -> None:
    """The rule itself."""
    body = "    x = 1\n"
    assert too_long("def f():\n" + body * LONGEST_BODY) == []
    assert too_long('def f():\n    """Doc."""\n' + body * LONGEST_BODY) == []
    assert too_long("def f():\n" + body * (LONGEST_BODY + 1)) == ["f"]
    assert too_long("class C:\n    async def f(self):\n" + ("    " + body) * (LONGEST_BODY + 1)) == ["f"]


def test_no_contract_of_the_layers_has_an_exception() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    contracts = settings["contracts"]
    assert any(contract["type"] == "layers" and contract["exhaustive"] for contract in contracts)
    assert not any("ignore_imports" in contract for contract in contracts)
