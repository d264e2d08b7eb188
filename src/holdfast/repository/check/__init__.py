"""Checking: prove what is stored, and say which machines, points, disks and ranges a damage hurts.

    structure   log, index, names, sizes; every id that a point reaches has a place in a pack that is there
    keyless     every object's bytes, by its name or checksum; no key is needed
    sample      structure, and a share of the packs down to the ids of what they hold, least recently proved first
    full        the same of every pack

Inside: report, listing < findings, journal < selection, reading < small, packs, reach < keyless, run.
"""

from holdfast.repository.check.journal import Journal
from holdfast.repository.check.keyless import check_without_key
from holdfast.repository.check.marks import restated
from holdfast.repository.check.report import EVERYTHING, CheckReport, CheckScope, Damage, Level, Marks
from holdfast.repository.check.run import Check

__all__ = [
    "EVERYTHING",
    "Check",
    "CheckReport",
    "CheckScope",
    "Damage",
    "Journal",
    "Level",
    "Marks",
    "check_without_key",
    "restated",
]
