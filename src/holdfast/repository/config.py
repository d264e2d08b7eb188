"""The repository's configuration: what never changes after `create`, stored under two names.

Readable without a key (so that a wrong passphrase and a newer format can be told apart), authenticated once keys are
open. Features say who must understand what: a reader, writer or collector that meets a name it does not know stops.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import msgspec

from holdfast.core.errors import DamagedError, RefusedError
from holdfast.repository import framing
from holdfast.repository.framing import CONFIG
from holdfast.repository.keys import Keys

FORMAT: Final = 1
NAMES: Final = ("config", "config.2")
_KNOWN_FEATURES: Final[frozenset[str]] = frozenset()
_CUT_ALGORITHM: Final = "keyed-sum-1"


class Cut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How disks are cut into segments (docs/format.md, section Cutting). Sizes in bytes or blocks as named."""

    algorithm: str = _CUT_ALGORITHM
    block_bytes: Annotated[int, msgspec.Meta(ge=64, le=64 * 1024, multiple_of=8)] = 4096
    region_bytes: Annotated[int, msgspec.Meta(ge=64, le=64 * 1024 * 1024)] = 4 * 1024 * 1024
    minimum_blocks: Annotated[int, msgspec.Meta(ge=1)] = 8
    boundary_bits: Annotated[int, msgspec.Meta(ge=1, le=16)] = 3
    maximum_blocks: Annotated[int, msgspec.Meta(ge=1, le=64)] = 64


class Features(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names of what a program must understand before it reads, writes or collects."""

    read: list[str] = []
    write: list[str] = []
    collect: list[str] = []


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration's body."""

    format: int
    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    created_at: datetime
    features: Features = msgspec.field(default_factory=Features)
    cut: Cut = msgspec.field(default_factory=Cut)
    record_bytes: Annotated[int, msgspec.Meta(ge=4096, le=256 * 1024)] = 256 * 1024
    signing_key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class _Envelope(msgspec.Struct, frozen=True):
    """What is framed: the body's exact bytes, so that its MAC needs no canonical form."""

    body: str
    mac: str


class _Version(msgspec.Struct, frozen=True):
    """The one field of the body that every later format keeps."""

    format: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConfig:
    """A configuration as it was found: whoever wrote `body` left `mac` as the proof."""

    config: Config
    body: bytes
    mac: str

    def is_by(self, keys: Keys) -> bool:
        """Whether somebody with these keys wrote it."""
        return keys.config_mac(self.body) == self.mac


def encode(config: Config) -> bytes:
    """The body."""
    return msgspec.json.encode(config)


def seal(body: bytes, keys: Keys) -> bytes:
    """The framed object of a body, the same under both names."""
    return framing.frame(CONFIG, msgspec.json.encode(_Envelope(body.decode(), keys.config_mac(body))))


def decode(blob: bytes, name: str) -> StoredConfig:
    """What a framed object says, still to be proved. Raises DamagedError, RefusedError (newer format)."""
    payload = framing.unframe(CONFIG, blob, name)
    try:
        envelope = msgspec.json.decode(payload, type=_Envelope)
        body = envelope.body.encode()
        version = msgspec.json.decode(body, type=_Version).format
        if version != FORMAT:
            raise newer_format(f"{name} says format {version}, this program reads format {FORMAT}")
        config = msgspec.json.decode(body, type=Config)
        _require_plausible(config.cut)
    except (msgspec.MsgspecError, RecursionError) as error:
        message = f"{name} is damaged: {error}"
        raise DamagedError(message, hint="run `holdfast repository check`", code="object-damaged") from error
    if unknown := sorted({*config.features.read} - _KNOWN_FEATURES):
        raise newer_format(f"reading this repository needs features unknown here: {', '.join(unknown)}")
    return StoredConfig(config=config, body=body, mac=envelope.mac)


def _require_plausible(cut: Cut) -> None:
    """Raise msgspec.ValidationError unless a region is of whole blocks, as many as a leaf can number."""
    blocks, rest = divmod(cut.region_bytes, cut.block_bytes)
    if rest or not cut.minimum_blocks <= cut.maximum_blocks or blocks >= 1 << 16:
        raise msgspec.ValidationError("the sizes of blocks, segments and regions do not fit together")


def require_writable(config: Config) -> None:
    """Raise RefusedError if a newer program's rules for writers hold in this repository."""
    if unknown := sorted({*config.features.write} - _KNOWN_FEATURES):
        raise newer_format(f"writing to this repository needs features unknown here: {', '.join(unknown)}")
    if config.cut.algorithm != _CUT_ALGORITHM:
        raise newer_format(f"this repository's disks are cut by {config.cut.algorithm!r}, which is unknown here")


def require_collectable(config: Config) -> None:
    """Raise RefusedError if a newer program's rules for deleting hold in this repository."""
    require_writable(config)
    if unknown := sorted({*config.features.collect} - _KNOWN_FEATURES):
        raise newer_format(f"collecting in this repository needs features unknown here: {', '.join(unknown)}")


def newer_format(message: str) -> RefusedError:
    """The error for anything a later version of the format must have written."""
    return RefusedError(message, hint="use a newer version of holdfast with this repository", code="newer-format")
