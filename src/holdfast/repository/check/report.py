"""What a check is asked, and what it says."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

Level = Literal["structure", "keyless", "sample", "full"]
DamageKind = Literal["object", "record", "missing", "unlisted"]

DEFAULT_SHARE: Final = 0.05
PROVES: Final[Mapping[Level, str]] = {
    "structure": "the log is whole, and all that its points reach has a place in a pack that is there in full length "
    "and that nothing marks as damaged; not that the packs' bytes are as written",
    "keyless": "every object that is there is byte for byte what was stored under its name, and the log has no gap; "
    "not that no pack is missing, nor who wrote them: that takes the key",
    "sample": "what `structure` proves, and that the packs read hold what their ids say",
    "full": "every byte is as written, and every point reads back exactly as it was stored",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckScope:
    """How much to read. `share` (0 to 1) of the packs' bytes counts for `sample`.

    With `resume` what an interrupted check of the same kind had proved is not read again.
    """

    level: Level = "full"
    share: float = DEFAULT_SHARE
    resume: bool = False


EVERYTHING: Final = CheckScope()
"""What a check reads that was told nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One thing that is not as written.

    `object` names it in the storage ("" where no copy is known). Damage that reaches a point names machine, point id,
    disk and the byte range that cannot be read; damage that a second copy or a rebuild covers names none. An `unlisted`
    pack is whole and needed, but the index object that listed it is lost.
    """

    object: str
    kind: DamageKind
    machine: str | None = None
    point: str | None = None
    disk: str | None = None
    offset: int | None = None
    length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Records, by their packs' names, that the log does not know to be damaged; and that it wrongly takes for such."""

    damaged: Mapping[str, Sequence[int]] = field(default_factory=dict)
    repaired: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.damaged or self.repaired)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The outcome of a check; `ok` means no damage.

    `proves` says in words what follows from an `ok`. `packs_read` packs were read now; `packs_resumed` had been proved
    by the interrupted check that this one continued. `marks` are what the log does not know of this yet.
    """

    ok: bool
    level: Level
    proves: str
    objects: int
    read_bytes: int
    packs_read: int
    packs_resumed: int
    damage: tuple[Damage, ...]
    marks: Marks = field(default_factory=Marks)


def joined(damages: Iterable[Damage]) -> Iterator[Damage]:
    """Join damages that touch on the same disk."""
    last: Damage | None = None
    for damage in damages:
        if last is not None and last.length is not None and damage.length is not None:
            same = replace(last, offset=0, length=0) == replace(damage, offset=0, length=0)
            if same and (last.offset or 0) + last.length == damage.offset:
                last = replace(last, length=last.length + damage.length)
                continue
        if last is not None:
            yield last
        last = damage
    if last is not None:
        yield last
