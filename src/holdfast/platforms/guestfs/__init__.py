"""Files of volumes through libguestfs: Linux's own drivers, in a virtual machine of its own that sees one volume."""

from holdfast.platforms.guestfs.reader import GuestfsReader

__all__ = ["GuestfsReader"]
