"""`python -m tests.soak --minutes 30 [--seed N]`: everything in turn until the time is over; a failure ends it."""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from holdfast.repository.collect import plan
from tests.explore.scenes import SCENES
from tests.explore.stage import DIES
from tests.soak.models import explorations
from tests.soak.processes import DAMAGES, ROLES, fleet
from tests.soak.stories import CLOCKS, PLANNED, Story
from tests.soak.suites import run_suites

_STORIES_S, _FLEET_S = 60.0, 45.0
_ENOUGH_MINUTES = 10
"""From here on a fault that never happened is a defect of the soak, not bad luck."""


class Soak:
    """One run."""

    def __init__(self, seed: int, end: float) -> None:
        self.counts: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._end = end
        self._explorations = explorations(SCENES, self.counts)
        self._round = 0

    def run(self) -> None:
        """Round after round; collections gather small packs wherever there are two."""
        plan._WORTH_GATHERING = 2
        while time.monotonic() < self._end:
            self._round += 1
            for part in (self._stories, self._processes, self._explore, self._suites):
                if time.monotonic() < self._end:
                    print(f"round {self._round}: {part(self._chance.getrandbits(32))}", flush=True)

    def _stories(self, seed: int) -> str:
        end = min(self._end, time.monotonic() + _STORIES_S)
        while time.monotonic() < end:
            story = Story(str(seed))
            story.run(lambda: time.monotonic() < end)
            self.counts += story.counts
            seed += 1
        return f"stories up to seed {seed - 1}: {self.counts['chapters']} chapters in all"

    def _processes(self, seed: int) -> str:
        with tempfile.TemporaryDirectory(prefix="holdfast-soak-") as home, fleet(Path(home), seed) as ours:
            ours.run(min(_FLEET_S, max(5.0, self._end - time.monotonic())))
            self.counts += ours.counts
        return f"processes from seed {seed}: {dict(ours.counts)} {dict(ours.errors)}"

    def _explore(self, _seed: int) -> str:
        return next(self._explorations, "everything has been explored")

    def _suites(self, seed: int) -> str:
        run_suites(seed)
        self.counts["runs of the suites"] += 1
        return f"suites from HOLDFAST_TEST_SEED={seed}"


def missing(counts: Counter[str]) -> list[str]:
    """Faults that were planned and never happened."""
    planned = {*PLANNED, DIES, *CLOCKS, *DAMAGES, *(f"{role} killed" for role in ROLES)}
    return sorted(each for each in planned if not counts[each])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--story", help="only this story, whose seed a failure has named")
    options = parser.parse_args()
    if options.story:
        Story(options.story).run(lambda: True)
        return 0
    print(f"soak: --minutes {options.minutes:g} --seed {options.seed}", flush=True)
    soak = Soak(options.seed, time.monotonic() + 60 * options.minutes)
    try:
        soak.run()
    except AssertionError as failure:
        print(f"FAILED (soak --seed {options.seed})\n{failure}", flush=True)
        return 1
    finally:
        for name, number in sorted(soak.counts.items()):
            print(f"{number:10} {name}")
    unmet = missing(soak.counts)
    print(f"never met: {', '.join(unmet)}" if unmet else "every planned fault was met")
    return int(bool(unmet) and options.minutes >= _ENOUGH_MINUTES)


if __name__ == "__main__":
    sys.exit(main())
