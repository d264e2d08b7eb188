"""Plain raw and qcow2 images, captured and restored without a hypervisor."""

from pathlib import Path

from holdfast.platforms.files.device import DeviceTarget
from holdfast.platforms.files.resumable import ResumableFile
from holdfast.platforms.files.target import TargetFile
from holdfast.platforms.image.capture import capture_images

__all__ = ["capture_images", "resumable_file", "target_device", "target_file"]


def target_file(path: Path, size_bytes: int, image_format: str) -> TargetFile:
    """A new image at `path`, raw or qcow2. Raises RefusedError if anything is in the way, NotFoundError, FullError."""
    return TargetFile(path, size_bytes, image_format)


def resumable_file(path: Path, size_bytes: int, image_format: str) -> ResumableFile:
    """The same, going on with what an earlier try left, and leaving it if this one fails."""
    return ResumableFile(path, size_bytes, image_format)


def target_device(path: Path, size_bytes: int) -> DeviceTarget:
    """A block device to be overwritten. Raises RefusedError if it is too small, ConflictError if it is in use."""
    return DeviceTarget(path, size_bytes)
