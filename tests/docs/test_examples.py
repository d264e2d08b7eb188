"""Commands that a page shows can be typed."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from holdfast.cli.main import PROGRAM, root
from tests.docs.pages import PAGES, ROOT, fences_of, name_of

SCRIPTS = [(page, script) for page in PAGES for language, script in fences_of(page) if language == "sh"]
LINES = [
    (page, line.strip())
    for page in PAGES
    for language, content in fences_of(page)
    if language != "sh"
    for line in content.splitlines()
    if line.strip().startswith(("holdfast ", "make "))
]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize(("page", "script"), SCRIPTS, ids=[name_of(page) for page, _ in SCRIPTS])
def test_scripts_run_as_they_stand(page: Path, script: str, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    environment = {**kept, "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = ["bash", "-euo", "pipefail", "-c", script]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{name_of(page)}: {ran.stderr}"


def test_there_are_scripts_and_lines() -> None:
    assert SCRIPTS
    assert len(LINES) > 20


@pytest.mark.parametrize(("page", "line"), LINES, ids=[line for _, line in LINES])
def test_lines_mean_something(page: Path, line: str) -> None:
    words = shlex.split(line.partition(" > ")[0], comments=True)
    if words[0] == "make":
        assert words[1] in TARGETS
        return
    parse(root, click.Context(root, info_name=PROGRAM), words[1:])


def parse(command: click.Command, parent: click.Context, words: list[str]) -> None:
    """Let Click parse, level by level, without running anything."""
    context = command.make_context(command.name, words, parent=parent)
    with context:
        if isinstance(command, click.Group) and (rest := [*context._protected_args, *context.args]):
            _, child, rest = command.resolve_command(context, rest)
            assert child is not None
            parse(child, context, rest)
