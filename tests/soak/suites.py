"""The suites that draw from a seed, again and again."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITES = (
    "tests/property",
    "tests/fault",
    "tests/soak/suite_boot.py",
    "tests/soak/suite_elsewhere.py",
    "tests/unit/filesystems/test_hostile_images.py",
)


def run_suites(seed: int) -> None:
    """All of them once, from this seed. Raises AssertionError if something fails."""
    environment = {**os.environ, "HOLDFAST_TEST_SEED": str(seed)}
    command = [sys.executable, "-m", "pytest", "-q", *SUITES]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, f"HOLDFAST_TEST_SEED={seed} {' '.join(command)} failed"
