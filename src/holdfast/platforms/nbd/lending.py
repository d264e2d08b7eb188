"""Bytes of ours lent over NBD on a private UNIX socket, read only, for as long as we live; each client has a thread.

The part of the fixed newstyle that QEMU's client needs, see
https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md; every other option is answered as unsupported.
"""

import errno
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from holdfast.core.errors import HoldfastError
from holdfast.core.foreign import Blocks

_MAGIC: Final = b"NBDMAGICIHAVEOPT"
_FIXED_NEWSTYLE: Final = 3  # and no zeros behind the answer to NBD_OPT_EXPORT_NAME
_HAS_FLAGS_AND_IS_READ_ONLY: Final = 3
_OPTION_REPLY_MAGIC: Final = 0x3E889045565A9
_REPLY_MAGIC: Final = 0x67446698
_OPTION: Final = struct.Struct(">8sII")
_OPTION_REPLY: Final = struct.Struct(">QIII")
_REQUEST: Final = struct.Struct(">IHHQQI")
_REPLY: Final = struct.Struct(">IIQ")
_EXPORT_NAME: Final = 1
_ABORT: Final = 2
_INFO: Final = 6
_GO: Final = 7
_REP_ACK: Final = 1
_REP_INFO: Final = 3
_REP_UNSUPPORTED: Final = 0x80000001
_READ: Final = 0
_HANG_UP: Final = 2
_LARGEST: Final = 32 * 1024 * 1024


class Lending:
    """A server of one disk at a socket. `trouble` is why a read failed last."""

    def __init__(self, blocks: Blocks, path: Path) -> None:
        self._blocks = blocks
        self._listener = socket.socket(socket.AF_UNIX)
        self._clients: set[socket.socket] = set()
        self.trouble: HoldfastError | None = None
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._welcome, name="lending", daemon=True).start()

    def close(self) -> None:
        """Hang up on everybody. May be called twice."""
        for end in (self._listener, *self._clients):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _welcome(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._clients.add(client)
                threading.Thread(target=self._serve, args=[client], name="lending-client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, EOFError):
            client.sendall(_MAGIC + struct.pack(">H", _FIXED_NEWSTYLE))
            _exactly(client, 4)
            if self._agree(client):
                while self._answer(client):
                    pass
        self._clients.discard(client)

    def _agree(self, client: socket.socket) -> bool:
        """Options, until one of them begins the transmission."""
        facts = struct.pack(">QH", self._blocks.size_bytes, _HAS_FLAGS_AND_IS_READ_ONLY)
        while True:
            magic, option, length = _OPTION.unpack(_exactly(client, _OPTION.size))
            if magic != _MAGIC[8:] or length > 65536:
                return False
            _exactly(client, length)
            if option == _EXPORT_NAME:
                client.sendall(facts)
                return True
            if option == _ABORT:
                return False
            if option not in {_INFO, _GO}:
                _reply(client, option, _REP_UNSUPPORTED)
                continue
            _reply(client, option, _REP_INFO, b"\0\0" + facts)
            _reply(client, option, _REP_ACK)
            if option == _GO:
                return True

    def _answer(self, client: socket.socket) -> bool:
        """One request; False at the last."""
        _, _, kind, handle, offset, length = _REQUEST.unpack(_exactly(client, _REQUEST.size))
        if kind != _READ:
            return kind != _HANG_UP and self._refuse(client, handle, errno.EPERM)
        if length > _LARGEST or offset + length > self._blocks.size_bytes:
            return self._refuse(client, handle, errno.EINVAL)
        content = bytearray(length)
        try:
            self._blocks.read_into(offset, memoryview(content))
        except HoldfastError as error:
            self.trouble = error
            return self._refuse(client, handle, errno.EIO)
        client.sendall(_REPLY.pack(_REPLY_MAGIC, 0, handle) + content)
        return True

    def _refuse(self, client: socket.socket, handle: int, number: int) -> bool:
        """A write would be followed by its bytes: whoever sends one is not heard further."""
        client.sendall(_REPLY.pack(_REPLY_MAGIC, number, handle))
        return number != errno.EPERM


def _reply(client: socket.socket, option: int, kind: int, content: bytes = b"") -> None:
    client.sendall(_OPTION_REPLY.pack(_OPTION_REPLY_MAGIC, option, kind, len(content)) + content)


def _exactly(client: socket.socket, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        some = client.recv(length - len(found))
        if not some:
            raise EOFError
        found += some
    return bytes(found)
