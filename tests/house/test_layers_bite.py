"""The layers hold because a wrong import breaks the build: each kind of wrong import is tried on a copy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = Path(sys.executable).with_name("lint-imports")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's sources and settings, free to be spoilt."""
    place = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "src", place / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", place)
    return place


def lint(place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINTER, "--no-cache"],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(place / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_the_house_as_it_stands_is_in_order(copy: Path) -> None:
    told = lint(copy)
    assert told.returncode == 0, told.stdout


WRONG = {
    "upwards": ("core/progress.py", "import holdfast.repository"),
    "a sibling": ("repository/cut.py", "import holdfast.platforms"),
    "the other sibling": ("platforms/errors.py", "import holdfast.repository"),
    "over two layers": ("repository/cut.py", "import holdfast.jobs"),
    "a command from the data path": ("mover/pool.py", "import holdfast.cli"),
    "a platform from the data path": ("mover/pool.py", "import holdfast.platforms.image"),
    "a platform from a job": ("jobs/notes.py", "import holdfast.platforms.image"),
    "a hypervisor's binding from a command": ("cli/output.py", "import libvirt"),
    "numbers in the core": ("core/extents.py", "import numpy"),
    "a network in the core": ("core/extents.py", "import socket"),
    "only for types": ("core/extents.py", "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import holdfast.mover"),
    "inside a function": ("core/extents.py", "def late():\n    import holdfast.mover"),
    "a package that nobody placed": ("novelty/__init__.py", '"""New."""'),
}


@pytest.mark.parametrize(("where", "what"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_import_breaks_the_build(copy: Path, where: str, what: str) -> None:
    victim = copy / "src/holdfast" / where
    before = victim.read_text() if victim.exists() else None
    victim.parent.mkdir(exist_ok=True)
    victim.write_text((before or "") + "\n" + what + "\n")
    try:
        told = lint(copy)
    finally:
        if before is None:
            shutil.rmtree(victim.parent)
        else:
            victim.write_text(before)
    assert told.returncode == 1, told.stdout
    assert "BROKEN" in told.stdout or "Could not" in told.stdout or "novelty" in told.stdout
