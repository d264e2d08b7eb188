"""What the operating system's errors mean to a user."""

import errno


def is_full(error: OSError) -> bool:
    """Whether the error says that there is no space, or none left for this user."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}
