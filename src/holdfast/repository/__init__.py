"""The deduplicating, encrypted store, and the truth about every restore point.

Inside, imports run downwards too: storage < framing < keys < config < cut, nodes < packs < index < records, tree <
packing < uploading < writer, log, disk, check < repository.
"""

from holdfast.repository.check import CheckReport, Damage
from holdfast.repository.keys import KdfCost
from holdfast.repository.repository import Repository, RepositoryInfo, create_repository, open_repository
from holdfast.repository.storage.local import LocalDirectory
from holdfast.repository.storage.memory import MemoryStorage
from holdfast.repository.storage.port import Storage

__all__ = [
    "CheckReport",
    "Damage",
    "KdfCost",
    "LocalDirectory",
    "MemoryStorage",
    "Repository",
    "RepositoryInfo",
    "Storage",
    "create_repository",
    "open_repository",
]
