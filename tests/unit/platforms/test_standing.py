"""Small files beside a machine's disks are replaced without following what somebody laid in the way."""

import os
from pathlib import Path

import pytest

from holdfast.platforms.libvirt import standing


@pytest.mark.parametrize("leads_to", ["secret", "nothing"])
def test_what_lies_where_the_draft_is_to_be_is_not_followed(tmp_path: Path, leads_to: str) -> None:
    (tmp_path / "secret").write_bytes(b"of another")
    (tmp_path / "secret").chmod(0o600)
    variables = tmp_path / "web_VARS.fd"
    variables.write_bytes(b"old")
    variables.chmod(0o640)
    os.chown(variables, 1234, 5678)
    (tmp_path / "web_VARS.fd.partial").symlink_to(tmp_path / leads_to)
    standing.replace_file(variables, b"new")
    assert variables.read_bytes() == b"new"
    status = variables.lstat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o640, 1234, 5678)
    assert (tmp_path / "secret").read_bytes() == b"of another"
    assert (tmp_path / "secret").stat().st_uid != 1234
    assert {each.name for each in tmp_path.iterdir()} == {"secret", "web_VARS.fd"}
