"""What the set-up installs is pinned, complete and said in one place."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOCKS = ("requirements.lock", "requirements-dev.lock")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def locked(lock: str) -> dict[str, str]:
    """Name and version of everything that a lock file names."""
    lines = (ROOT / lock).read_text().splitlines()
    pinned = (line.removesuffix("\\").strip().partition("==") for line in lines if line[:1].isalnum())
    return {name.lower(): version for name, _, version in pinned}


def names(requirements: list[str]) -> set[str]:
    found = (NAME.match(requirement) for requirement in requirements)
    return {match.group().lower().replace(".", "-") for match in found if match}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_by_version_and_hash_and_no_index_is_named(lock: str) -> None:
    text = (ROOT / lock).read_text()
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", entry), entry
    assert "://" not in text
    assert "index" not in text


def test_the_locks_cover_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    assert names(project["project"]["dependencies"] + groups["build"]) <= locked("requirements.lock").keys()
    assert names(groups["check"] + groups["test"]) <= locked("requirements-dev.lock").keys()


def test_the_locks_agree_where_they_overlap() -> None:
    program, development = (locked(lock) for lock in LOCKS)
    shared = program.keys() & development.keys()
    assert shared
    assert {name: program[name] for name in shared} == {name: development[name] for name in shared}


def test_debian_packages_are_listed_once_and_by_a_known_need() -> None:
    lines = (ROOT / "deploy" / "setup" / "debian-packages.txt").read_text().splitlines()
    entries = [line.split("#")[0].split() for line in lines]
    listed = [(entry[0], entry[1]) for entry in entries if entry]
    assert {need for need, _ in listed} == {"run", "guest", "s3", "bench"}
    assert len({package for _, package in listed}) == len(listed)


def test_every_make_target_has_its_line_of_help() -> None:
    targets = re.findall(r"^([a-z]+):(.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert {name for name, _ in targets} >= {"setup", "demo", "test", "check", "bench", "clean"}
    assert [name for name, rest in targets if "## " not in rest] == []
