"""What a check has to tell the log: a pure decision."""

from collections.abc import Iterable

from holdfast.repository.check.findings import Findings
from holdfast.repository.check.report import Marks
from holdfast.repository.decisions import Damage
from holdfast.repository.state import PackRecord, State


def plan_marks(findings: Findings, state: State) -> Marks:
    """Mark what was found; take back what was marked and has been read whole since. Condemned packs concern nobody."""
    lost = {record for record in findings.records if record[0] not in state.condemned}
    sound = {(pack, number) for pack, number in state.damaged if pack in findings.read} - findings.records
    return Marks(damaged=_by_pack(lost - state.damaged.keys()), repaired=_by_pack(sound))


def restated(state: State) -> Damage:
    """The marks that stand, once more: a decision that changes nothing, and that a collection cannot overlook."""
    return Damage(records=_by_pack(state.damaged))


def _by_pack(records: Iterable[PackRecord]) -> dict[str, list[int]]:
    grouped: dict[str, list[int]] = {}
    for pack, number in sorted(records):
        grouped.setdefault(pack, []).append(number)
    return grouped
