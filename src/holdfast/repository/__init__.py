"""The deduplicating, encrypted store, and the truth about every restore point.

Inside, imports run downwards too: storage < framing < keys < config < cut, nodes < packs < index < records, tree <
packing < uploading < writer, log, disk, check < repository.
"""

from holdfast.repository.check import CheckReport, CheckScope, Damage, Journal, check_without_key
from holdfast.repository.cut import Piece
from holdfast.repository.disk import StoredDisk
from holdfast.repository.keys import KdfCost
from holdfast.repository.log import Committed, Head
from holdfast.repository.nodes import depth_of, encode_leaf
from holdfast.repository.records import BlockMissingError, ReadRun
from holdfast.repository.repository import (
    DEFAULT_VERIFY_SHARE,
    Repository,
    RepositoryInfo,
    create_repository,
    identify,
    open_repository,
)
from holdfast.repository.storage.local import LocalDirectory
from holdfast.repository.storage.memory import MemoryStorage
from holdfast.repository.storage.port import Storage
from holdfast.repository.tree import rewrite, write_root
from holdfast.repository.writer import Attempt, Lane

__all__ = [
    "DEFAULT_VERIFY_SHARE",
    "Attempt",
    "BlockMissingError",
    "CheckReport",
    "CheckScope",
    "Committed",
    "Damage",
    "Head",
    "Journal",
    "KdfCost",
    "Lane",
    "LocalDirectory",
    "MemoryStorage",
    "Piece",
    "ReadRun",
    "Repository",
    "RepositoryInfo",
    "Storage",
    "StoredDisk",
    "check_without_key",
    "create_repository",
    "depth_of",
    "encode_leaf",
    "identify",
    "open_repository",
    "rewrite",
    "write_root",
]
