"""A server of files whose disk is hurt while it serves."""

import http.client
import os
import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast.bootstrap.webdav_server import HandedServer, application
from holdfast.core.errors import DamagedError
from holdfast.filesystems import Inspection, Wanted
from holdfast.jobs.browse import Browser
from tests.support.images import MIB, ImageDevice, ext_image

CONTENT = os.urandom(3 * MIB)


class Wearing(ImageDevice):
    """Bytes as a disk that gives only so many more of them."""

    left = 1 << 40

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if len(buffer) > self.left:
            raise DamagedError("no good copy of block x")
        self.left -= len(buffer)
        super().read_into(offset, buffer)


@dataclass(frozen=True)
class Served:
    device: Wearing
    client: http.client.HTTPConnection

    def ask(self, path: str) -> http.client.HTTPResponse:
        self.client.request("GET", path, headers={"Authorization": f"Basic {b64encode(b'holdfast:word').decode()}"})
        return self.client.getresponse()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "top"
    folder.mkdir()
    (folder / "file").write_bytes(CONTENT)
    (folder / "small").write_text("small")
    device = Wearing(ext_image(folder, tmp_path / "image"))
    listener = socket.create_server(("127.0.0.1", 0))
    with closing(Browser(lambda: Inspection({"vda": device}, Wanted(), "the test"))) as browser, listener:
        server = HandedServer(listener, application(browser, "word"))
        with (
            server._run_in_thread(),
            closing(http.client.HTTPConnection(*listener.getsockname(), timeout=30)) as client,
        ):
            yield Served(device, client)


def test_what_cannot_be_proved_halfway_ends_the_connection(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    with served.ask("/file") as whole:
        assert whole.read() == CONTENT
    served.device.left = 3 * MIB // 2
    with served.ask("/file") as answer, pytest.raises(http.client.IncompleteRead) as short:
        answer.read()
    assert answer.status == 200
    assert CONTENT[: len(short.value.partial)] == short.value.partial
    assert 0 < len(short.value.partial) < len(CONTENT)
    assert "no good copy of block x" in capfd.readouterr().err


def test_what_cannot_be_read_at_all_is_an_error_and_the_rest_is_served(served: Served) -> None:
    with served.ask("/small") as answer:
        assert answer.read() == b"small"
    served.device.left = 0
    with served.ask("/file") as answer:
        assert answer.status == 500
        assert CONTENT[:16] not in answer.read()
    served.device.left = 1 << 40
    with served.ask("/small") as answer:
        assert (answer.status, answer.read()) == (200, b"small")
