"""Whether the bitmaps that a verdict builds on are in the images of a domain that is off, and still record."""

from collections.abc import Sequence

from holdfast.platforms.libvirt.marks import Verdict
from holdfast.platforms.libvirt.survey import SurveyedDisk


def check_bitmaps(disks: Sequence[SurveyedDisk], verdict: Verdict) -> Verdict:
    """The verdict; a full one if a bitmap is missing, broken, or no longer records."""
    name = verdict.checkpoint
    if name is None:
        return verdict
    for disk in disks:
        if fault := _fault(disk, name):
            return Verdict.full([each.markable for each in disks], fault)
    return verdict


def _fault(disk: SurveyedDisk, name: str) -> str:
    header = disk.chain[0].qcow2 if disk.chain else None
    bitmap = header.bitmap(name) if header else None
    if bitmap is None:
        return f"the mark of {disk.name} is gone from its image"
    if bitmap.in_use:
        return f"the mark of {disk.name} is broken: its machine was killed"
    if not bitmap.recording:
        return f"the mark of {disk.name} was switched off by somebody"
    return ""
