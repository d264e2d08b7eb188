"""A machine of nothing but disks that a measurement makes up, lent to the mover through the platform's ports."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from holdfast.core.point import Consistency
from holdfast.core.ports import CapturedDisk


@dataclass(frozen=True, slots=True, kw_only=True)
class LentCapture:
    """Disks as of now."""

    machine: str
    disks: Sequence[CapturedDisk]
    captured_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    consistency: Consistency = "crash"
    freeze_ms: float | None = None
    definition: bytes | None = None
    nvram: bytes | None = None
    warnings: Sequence[str] = ()

    @property
    def machine_id(self) -> str:
        return self.machine

    def confirm(self) -> None:
        """Nothing changes meanwhile."""

    def settle(self) -> Sequence[str]:
        return ()
