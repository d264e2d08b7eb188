"""Plain images as a machine: read in full, at rest, and watched so that they stay at rest."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from holdfast.core.errors import FailedError, RefusedError, UsageError
from holdfast.core.point import Consistency
from holdfast.core.ports import CapturedDisk
from holdfast.platforms.files.chain import Chain, block_device, declared_format, read_chain
from holdfast.platforms.files.foreign import foreign_by_content, foreign_by_name
from holdfast.platforms.files.locks import is_in_use
from holdfast.platforms.files.qcow2 import has_magic
from holdfast.platforms.files.qemu_img import require_whole
from holdfast.platforms.files.raw import RawDisk, raw_size
from holdfast.platforms.files.witness import Witness
from holdfast.platforms.nbd.client import served_size
from holdfast.platforms.nbd.disk import NbdDisk
from holdfast.platforms.nbd.server import QemuNbd

# A machine of images has no identity but the name it is given; the same name is the same machine, everywhere.
_NAMESPACE = uuid.UUID("6a1a1f0e-6f0c-5f5e-9d0a-3f6c8f4f1b57")
_HINT = "back the machine up through its hypervisor (--connect URI), or shut it down first"
_REASON = "plain images keep no record of changed blocks"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCapture:
    """A Capture of images that nobody is supposed to write to meanwhile; `confirm` sees whether somebody did."""

    machine: str
    machine_id: str
    captured_at: datetime
    disks: Sequence[CapturedDisk]
    warnings: Sequence[str]
    chains: Sequence[Chain]
    witness: Witness

    @property
    def consistency(self) -> Consistency:
        """Nobody asked a guest anything, and whether one shut down cleanly is not known here."""
        return "crash"

    @property
    def freeze_ms(self) -> float | None:
        """Nothing was frozen."""
        return None

    @property
    def definition(self) -> bytes | None:
        """Images define no machine."""
        return None

    @property
    def nvram(self) -> bytes | None:
        """Images have no firmware variables."""
        return None

    def confirm(self) -> None:
        """Raise FailedError if a file of any chain was changed, or if a machine runs from one now."""
        self.witness.confirm()
        if (path := _find_in_use(self.chains)) is not None:
            raise FailedError(f"a machine was started from {path} while it was read", hint=_HINT, code="changed")

    def settle(self) -> Sequence[str]:
        """There is no mark to move."""
        return ()


@contextmanager
def capture_images(name: str, disks: Mapping[str, Path]) -> Iterator[ImageCapture]:
    """Capture the images `disks`, by disk name, as the machine `name`.

    Raises UsageError without a disk, NotFoundError, RefusedError for what is no image or not safe to follow (see
    `files.chain`) or used by a running machine, FailedError or DamagedError if one cannot be read.
    """
    if not disks:
        raise UsageError(f"{name} has no disk", hint="name at least one image")
    chains = _read_chains(disks)
    if (path := _find_in_use(chains.values())) is not None:
        raise RefusedError(f"{path} is in use by a running machine", hint=_HINT, code="in-use")
    for path in {layer.path for layers in chains.values() for layer in layers if layer.format == "qcow2"}:
        require_whole(path)
    # The instant is now: whatever is read later must still be what the witness saw, and so must what was read before.
    witness = Witness.of(layer.path for chain in chains.values() for layer in chain)
    captured_at = datetime.now(UTC)
    if _read_chains(disks) != chains:
        raise FailedError(f"the images of {name} are changing", hint=_HINT, code="changed")
    with ExitStack() as servers:
        yield ImageCapture(
            machine=name,
            machine_id=str(uuid.uuid5(_NAMESPACE, name)),
            captured_at=captured_at,
            disks=[_open(disk, chain, servers) for disk, chain in chains.items()],
            warnings=[*(doubt for chain in chains.values() for doubt in _doubts(chain)), *witness.doubts()],
            chains=tuple(chains.values()),
            witness=witness,
        )


def _open(disk: str, chain: Chain, servers: ExitStack) -> CapturedDisk:
    top = chain[0]
    if top.format == "raw":
        return RawDisk(name=disk, path=top.path, size_bytes=raw_size(top.path), reason=_REASON)
    server = servers.enter_context(QemuNbd(disk, block_device(chain), ["--read-only"]))
    return NbdDisk(
        name=disk, size_bytes=served_size(server.export), format="qcow2", export=server.export, reason=_REASON
    )


def _read_chains(disks: Mapping[str, Path]) -> dict[str, Chain]:
    for path in disks.values():
        if foreign := foreign_by_name(path):
            raise RefusedError(
                f"{path} is a {foreign} image by its name; raw and qcow2 are read",
                hint=f"convert it: qemu-img convert -O qcow2 {path} {path.with_suffix('.qcow2')}",
                code="not-an-image",
            )
    return {disk: read_chain(path, declared_format(path)) for disk, path in disks.items()}


def _find_in_use(chains: Iterable[Chain]) -> Path | None:
    return next((chain[0].path for chain in chains if is_in_use(chain[0].path)), None)


def _doubts(chain: Chain) -> Iterator[str]:
    top = chain[0]
    if top.format == "raw" and has_magic(top.path):
        yield f"{top.path} begins like a qcow2 image; its name does not say so, so it was captured as a raw disk"
    if top.format == "raw" and (foreign := foreign_by_content(top.path)):
        yield f"{top.path} begins like a {foreign} image; it was captured as a raw disk, all of it as it is"
    if top.format == "qcow2" and declared_format(top.path) is None:
        yield (
            f"{top.path} was taken for qcow2 by its content, which a guest can write into a raw disk; "
            "name it .qcow2 or .raw, whichever it is"
        )
