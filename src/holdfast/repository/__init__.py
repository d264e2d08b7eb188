"""The deduplicating, encrypted store, and the truth about every restore point.

Inside, imports run downwards too: storage < framing < keys, word_list < recovery < config, recovery_shares, plausible,
signing, slots, decisions < keyset < state < cut, nodes, stretches < packs < runs, known_log, log_entry < merging,
index_objects, cache < index, log < broken_log, keyring < lost_config, records, tree < reading < disk, neighbours <
block_device, frames, damaged, packing, claims, reliance < sharing, uploading < writer, check < rebuild, collect,
known_locks < locking, unhiding < repository < handing_over.
"""

from holdfast.repository.block_device import BlockDevice
from holdfast.repository.broken_log import BrokenLog
from holdfast.repository.check import CheckReport, CheckScope, Damage, Journal, check_without_key, restated
from holdfast.repository.collect import CollectionPlan, CollectionReport, PackUse
from holdfast.repository.cut import Piece
from holdfast.repository.decisions import Body, Commit, SlotRecord, Verified
from holdfast.repository.disk import StoredDisk
from holdfast.repository.frames import Frame, FrameReader, Lost
from holdfast.repository.handing_over import hand_over, take_over
from holdfast.repository.keyring import Secret, slot_names
from holdfast.repository.log import Appended, Head
from holdfast.repository.nodes import depth_of, encode_leaf, leaf_columns
from holdfast.repository.reading import Layout, LayoutReader, Plain, ReadRun, RunReader, plan_reads
from holdfast.repository.rebuild import Rebuild, RebuildPlan, RebuildReport
from holdfast.repository.records import BlockMissingError
from holdfast.repository.recovery import new_recovery_key
from holdfast.repository.recovery_shares import Division, TooFewSharesError, shares_error, shares_of_key
from holdfast.repository.reliance import kept_since
from holdfast.repository.repository import (
    DEFAULT_VERIFY_SHARE,
    Repository,
    RepositoryInfo,
    create_repository,
    identify,
    open_for_reading,
    open_for_rebuild,
    open_repository,
)
from holdfast.repository.slots import RANDOM_SECRET, KdfCost
from holdfast.repository.state import Standing, State
from holdfast.repository.storage.local import LocalDirectory
from holdfast.repository.storage.memory import MemoryStorage
from holdfast.repository.storage.port import Storage
from holdfast.repository.storage.probe import require_trustworthy
from holdfast.repository.tree import rewrite, write_root
from holdfast.repository.unhiding import hidden_objects, unhide
from holdfast.repository.writer import Attempt, Lane

__all__ = [
    "DEFAULT_VERIFY_SHARE",
    "RANDOM_SECRET",
    "Appended",
    "Attempt",
    "BlockDevice",
    "BlockMissingError",
    "Body",
    "BrokenLog",
    "CheckReport",
    "CheckScope",
    "CollectionPlan",
    "CollectionReport",
    "Commit",
    "Damage",
    "Division",
    "Frame",
    "FrameReader",
    "Head",
    "Journal",
    "KdfCost",
    "Lane",
    "Layout",
    "LayoutReader",
    "LocalDirectory",
    "Lost",
    "MemoryStorage",
    "PackUse",
    "Piece",
    "Plain",
    "ReadRun",
    "Rebuild",
    "RebuildPlan",
    "RebuildReport",
    "Repository",
    "RepositoryInfo",
    "RunReader",
    "Secret",
    "SlotRecord",
    "Standing",
    "State",
    "Storage",
    "StoredDisk",
    "TooFewSharesError",
    "Verified",
    "check_without_key",
    "create_repository",
    "depth_of",
    "encode_leaf",
    "hand_over",
    "hidden_objects",
    "identify",
    "kept_since",
    "leaf_columns",
    "new_recovery_key",
    "open_for_reading",
    "open_for_rebuild",
    "open_repository",
    "plan_reads",
    "require_trustworthy",
    "restated",
    "rewrite",
    "shares_error",
    "shares_of_key",
    "slot_names",
    "take_over",
    "unhide",
    "write_root",
]
