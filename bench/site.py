"""Where a benchmark run lives on disk."""

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """`scratch` is emptied after every measurement, `images` outlives the run, `holdfast` is our program."""

    scratch: Path
    images: Path
    holdfast: Path

    def place(self, name: str) -> Path:
        """A new empty directory in the scratch, in place of an earlier one of that name."""
        path = self.scratch / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path
