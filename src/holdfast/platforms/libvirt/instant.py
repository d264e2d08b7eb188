"""The instant of a running domain's capture: freeze, begin the job, thaw."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import libvirt

from holdfast.core.errors import ConflictError, FailedError
from holdfast.core.point import Consistency
from holdfast.core.ports import CaptureOptions
from holdfast.platforms.libvirt.agent import AgentError, GuestAgent
from holdfast.platforms.libvirt.calls import asking, is_lost, meaning
from holdfast.platforms.libvirt.domain_xml import agent_state
from holdfast.platforms.libvirt.job import Attempt, BackupJob, find_job
from holdfast.platforms.libvirt.marks import Verdict
from holdfast.platforms.libvirt.quiesce import Frozen, Quiesce
from holdfast.platforms.libvirt.survey import Survey

_PING_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """How a job began: when, in which way and why so, how the freeze went, and what must be said about it."""

    at: datetime
    attempt: Attempt
    verdict: Verdict
    frozen: Frozen | None
    warnings: Sequence[str]

    @property
    def consistency(self) -> Consistency:
        """Only a freeze that lasted from before the instant until after it makes file systems consistent."""
        return "filesystem" if self.frozen and self.frozen.held else "crash"

    @property
    def freeze_ms(self) -> float | None:
        """Freeze call sent to thaw returned."""
        return self.frozen.freeze_ms if self.frozen else None


class Beginning:
    """Begins `job` for the domain of `surveyed`, frozen if it can be. Used once."""

    def __init__(
        self, domain: Any, surveyed: Survey, job: BackupJob, quiesce: Quiesce, options: CaptureOptions
    ) -> None:
        self._domain = domain
        self._survey = surveyed
        self._job = job
        self._quiesce = quiesce
        self._options = options
        self._warnings: list[str] = []

    def take(self, verdict: Verdict, checkpoint: str) -> Instant:
        """Take the instant; the guest runs again when this returns or raises, or `quiesce` goes on thawing it.

        Raises FailedError if a freeze was required and did not hold, ConflictError if another job came first, and
        what libvirt refuses.
        """
        frozen = None
        is_frozen = self._options.quiesce and self._freeze()
        at = datetime.now(UTC)
        try:
            attempt, verdict = self._begin(verdict, checkpoint)
        finally:
            if is_frozen:
                frozen = self._quiesce.thaw()
        if frozen and not frozen.held:
            self._doubt(f"the guest did not stay frozen: {frozen.trouble}")
        elif frozen and frozen.trouble:
            self._warnings.append(f"{self._survey.name} was frozen in time, but {frozen.trouble}")
        return Instant(at=at, attempt=attempt, verdict=verdict, frozen=frozen, warnings=tuple(self._warnings))

    def _freeze(self) -> bool:
        """Freeze if the guest lets us; whether it did."""
        obstacle = self._obstacle()
        if not obstacle:
            try:
                if self._quiesce.freeze() > 0:
                    return True
                self._quiesce.thaw()
                obstacle = "the guest agent found none"
            except AgentError as error:
                obstacle = f"the guest agent says: {error}"
        self._doubt(f"the guest's file systems were not frozen: {obstacle}")
        return False

    def _obstacle(self) -> str:
        """Why a freeze need not be tried; empty if it may work."""
        with asking(f"see the state of {self._survey.name}"):
            if self._domain.state()[0] not in {libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED}:
                return "the guest is paused"
        match agent_state(self._survey.xml):
            case "none":
                return "the machine has no channel for a guest agent"
            case "disconnected":
                return "no guest agent runs in it"
            case "connected":
                try:
                    GuestAgent(self._domain).ping(_PING_S)
                except AgentError as error:
                    return f"the guest agent does not answer: {error}"
        return ""

    def _doubt(self, said: str) -> None:
        """Warn that the point is only crash-consistent, or fail where that is not good enough."""
        if self._options.require_quiesce:
            raise FailedError(
                f"{self._survey.name}: {said}",
                hint="see to the guest agent, or leave --require-quiesce out for a crash-consistent point",
                code="not-quiesced",
            )
        self._warnings.append(f"{said}; the point is crash-consistent")

    def _begin(self, verdict: Verdict, checkpoint: str) -> tuple[Attempt, Verdict]:
        """Begin in the best way that libvirt accepts."""
        refusals: list[libvirt.libvirtError] = []
        for attempt in self._attempts(verdict, checkpoint):
            try:
                self._job.begin(attempt)
            except libvirt.libvirtError as error:
                refusals.append(error)
                self._raise_if_hopeless(error)
            else:
                return attempt, self._explain(attempt, verdict, refusals)
        raise meaning(refusals[-1], f"begin a backup of {self._survey.name}")

    def _attempts(self, verdict: Verdict, checkpoint: str) -> Iterator[Attempt]:
        marked = tuple(disk.name for disk in self._survey.disks if disk.markable.image is not None)
        if verdict.checkpoint is not None:
            yield Attempt(since=verdict.checkpoint, checkpoint=checkpoint, marked=marked)
        if marked:
            yield Attempt(since=None, checkpoint=checkpoint, marked=marked)
        yield Attempt(since=None, checkpoint=checkpoint, marked=())

    def _raise_if_hopeless(self, error: libvirt.libvirtError) -> None:
        """Raise where no other way to begin would fare better."""
        what = f"begin a backup of {self._survey.name}"
        if is_lost(error) or error.get_error_code() == libvirt.VIR_ERR_OPERATION_TIMEOUT:
            raise meaning(error, what) from error
        with asking(what):
            if not self._domain.isActive():
                raise FailedError(f"{self._survey.name} was switched off while its backup began", code="vanished")
            if find_job(self._domain) is not None:
                raise ConflictError(
                    f"another backup of {self._survey.name} is running", hint="wait for it", code="busy"
                )

    def _explain(self, attempt: Attempt, verdict: Verdict, refusals: Sequence[libvirt.libvirtError]) -> Verdict:
        """The first refusal met the increment if there was to be one; the last one met the marks if none are left."""
        if not refusals:
            return verdict
        if verdict.checkpoint is not None:
            said = refusals[0].get_error_message()
            verdict = Verdict.full(self._survey.markable, f"libvirt refused the increment: {said}")
        if not attempt.marked:
            said = refusals[-1].get_error_message()
            self._warnings.append(f"no mark could be left, so the next backup reads everything: {said}")
        return verdict
