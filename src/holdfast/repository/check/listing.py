"""The names that stand in a storage, sorted by what they name; what no repository would call an object is left out."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from holdfast.repository.packs import pack_name
from holdfast.repository.storage.port import Stored

_INDEX: Final = re.compile(r"index/[0-9a-f]{64}")
_SLOT: Final = re.compile(r"keys/[1-9][0-9]*(\.2)?")
_ENTRY: Final = re.compile(r"log/[0-9]{12}")


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects of each kind, by name. `config` holds the copies of the configuration that are there."""

    config: Sequence[Stored]
    slots: Sequence[Stored]
    entries: Sequence[Stored]
    index: Sequence[Stored]
    packs: Sequence[Stored]

    def __len__(self) -> int:
        return sum(map(len, (self.config, self.slots, self.entries, self.index, self.packs)))


def sorted_out(objects: Iterable[Stored], config_names: Sequence[str]) -> Listing:
    """What of a listing is of a repository."""
    ordered = sorted(objects)

    def like(pattern: re.Pattern[str]) -> list[Stored]:
        return [stored for stored in ordered if pattern.fullmatch(stored.name)]

    config = [stored for stored in ordered if stored.name in config_names]
    packs = [stored for stored in ordered if pack_name(stored.name)]
    return Listing(config, like(_SLOT), like(_ENTRY), like(_INDEX), packs)


def pack_of(name: str) -> str:
    """The pack's own name (hex) from its name in the storage."""
    return name.rpartition("/")[2]
