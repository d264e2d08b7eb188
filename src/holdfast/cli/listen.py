"""Where a server listens, and on what terms of TLS: what the options of `holdfast mount create` say."""

from ipaddress import ip_address
from pathlib import Path

from holdfast.core.errors import NotFoundError, RefusedError, UsageError
from holdfast.core.mount import Certificates, SharedKeys, TcpAddress, Tls


def tcp_address(text: str, option: str, tls: Tls | None) -> TcpAddress:
    """HOST:PORT as `option` gives it. Raises UsageError; RefusedError for one beyond this host without TLS."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise UsageError(f"{option}: {text!r} is not HOST:PORT", hint="for instance 127.0.0.1:10809, or [::1]:10809")
    if tls is None and not _is_loopback(host):
        raise RefusedError(
            f"without TLS everybody on the way to {host} could read what is served",
            hint="give --tls-certificates or, for --nbd, --tls-psk; or listen at 127.0.0.1",
            code="tls-needed",
        )
    return TcpAddress(host=host, port=int(port))


def parse_tls(certificates: Path | None, keys: Path | None) -> Tls | None:
    """What the two options say. Raises UsageError, NotFoundError."""
    if certificates is not None and keys is not None:
        raise UsageError("two kinds of TLS", hint="give --tls-certificates or --tls-psk, not both", code="two-kinds")
    if keys is None:
        return parse_certificates(certificates)
    _require(keys)
    return SharedKeys(file=keys.absolute())


def parse_certificates(directory: Path | None) -> Certificates | None:
    """A directory with certificates, if one is named. Raises NotFoundError."""
    if directory is None:
        return None
    _require(directory)
    return Certificates(directory=directory.absolute())


def _require(given: Path) -> None:
    if not given.exists():
        raise NotFoundError(f"there is no {given}", hint="check --tls-certificates or --tls-psk", code="no-tls-files")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name may mean anything; it is not asked for here, and something else later
        return False
