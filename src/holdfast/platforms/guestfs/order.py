"""What the process with the appliance is told first."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Read the disk at an NBD socket as a file system of this kind; scratch files go to `scratch`."""

    socket: str
    kind: str
    scratch: str
