"""Where servers of mounts may listen."""

from pathlib import Path

import pytest

from holdfast.cli.listen import parse_tls, tcp_address
from holdfast.core.errors import NotFoundError, RefusedError, UsageError
from holdfast.core.mount import Certificates, SharedKeys, TcpAddress


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:0", "127.0.0.1", 0), ("[::1]:80", "::1", 80), ("127.9.9.9:65535", "127.9.9.9", 65535)],
)
def test_this_host_needs_no_tls(text: str, host: str, port: int) -> None:
    assert tcp_address(text, "--webdav", None) == TcpAddress(host=host, port=port)


@pytest.mark.parametrize("text", ["0.0.0.0:0", "[::]:80", "192.0.2.1:80", "localhost:80"])
def test_beyond_it_tls_is_needed(text: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        tcp_address(text, "--webdav", None)
    assert refused.value.code == "tls-needed"
    assert tcp_address(text, "--webdav", Certificates(directory=tmp_path)).port in {0, 80}


@pytest.mark.parametrize(
    "text", ["", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--webdav"):
        tcp_address(text, "--webdav", None)


def test_one_kind_of_tls(tmp_path: Path) -> None:
    assert parse_tls(None, None) is None
    assert parse_tls(tmp_path, None) == Certificates(directory=tmp_path)
    assert parse_tls(None, tmp_path) == SharedKeys(file=tmp_path)
    with pytest.raises(UsageError):
        parse_tls(tmp_path, tmp_path)
    with pytest.raises(NotFoundError):
        parse_tls(tmp_path / "no", None)
