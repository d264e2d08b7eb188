"""Files of restore points over WebDAV."""

import http.client
import os
import shutil
import ssl
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as ET

import pytest

from tests.e2e.command import Site
from tests.support.images import contents_below, ext_image, sample

ODD = b"many/not \xff UTF-8 & <odd>%2F\x01"


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = sample(tmp_path_factory.mktemp("guest") / "top")
    Path(os.fsdecode(os.fsencode(folder) + b"/" + ODD)).write_text("odd")
    (folder / "home/nowhere").symlink_to("/no/such/thing")
    (folder / "home/up").symlink_to("..")
    return folder


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory, guest: Path) -> Site:
    site = Site(home=tmp_path_factory.mktemp("site"))
    os.mkfifo(guest / "home/pipe")
    ext_image(guest, site.home / "vda")
    (guest / "home/pipe").unlink()  # whoever compares the two would wait for a writer
    site.create()
    site.back_up("web01", site.home / "vda")
    return site


@pytest.fixture(scope="module")
def site(protected: Site) -> Iterator[Site]:
    """Nothing is mounted by it afterwards."""
    with tempfile.TemporaryDirectory(dir="/tmp") as run:
        site = Site(home=protected.home, environment={"HOLDFAST_RUN": run})
        yield site
        site.run("mount", "remove", *[mount["id"] for mount in site.run("mount", "list", "--json").value])


def mounted(site: Site, *options: str | Path) -> dict[str, Any]:
    done = site.run("mount", "create", "web01@latest", "--json", *(options or ["--webdav"]))
    assert done.status == 0, done.err
    return dict(done.value)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    made += ["-keyout", str(folder / "server-key.pem"), "-out", str(folder / "server-cert.pem")]
    made += ["-subj", "/CN=mount", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(made, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def mount(site: Site, certificates: Path) -> dict[str, Any]:
    """One that is served beyond this host."""
    mount = mounted(site, "--webdav", "0.0.0.0:0", "--tls-certificates", certificates)
    assert mount["tls"]
    assert mount["url"].startswith("https://0.0.0.0:")
    return {**mount, "url": mount["url"].replace("0.0.0.0", "127.0.0.1"), "trust": certificates / "server-cert.pem"}


@pytest.fixture
def client(mount: dict[str, Any]) -> Iterator["Client"]:
    with closing(Client(mount)) as client:
        yield client


class Client:
    """A client that keeps its connection."""

    def __init__(self, mount: dict[str, Any], password: str | None = None) -> None:
        where = urlsplit(mount["url"])
        assert where.hostname
        self._connection: http.client.HTTPConnection = (
            http.client.HTTPSConnection(
                where.hostname, where.port, timeout=30, context=ssl.create_default_context(cafile=mount["trust"])
            )
            if where.scheme == "https"
            else http.client.HTTPConnection(where.hostname, where.port, timeout=30)
        )
        token = b64encode(f"{mount['user']}:{password or mount['password']}".encode()).decode()
        self._always = {"Authorization": f"Basic {token}"}

    def ask(self, method: str, path: str, **headers: str) -> tuple[int, bytes]:
        self._connection.request(method, path, headers={**self._always, **headers})
        with self._connection.getresponse() as answer:
            return answer.status, answer.read()

    def names(self, path: str) -> list[str]:
        """What a folder holds, as hrefs."""
        status, listing = self.ask("PROPFIND", path, Depth="1")
        assert status == 207
        return [str(each.text) for each in ET.fromstring(listing).iter("{DAV:}href")][1:]

    def below(self, path: str) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {}
        for href in self.names(path):
            name = unquote(href, errors="surrogateescape").rstrip("/")
            if not href.endswith("/"):
                status, found[name] = self.ask("GET", href)
                assert status == 200
            else:
                found[name] = None
                if name not in {"/home/up", "/lost+found"}:
                    found |= self.below(href)
        return found

    def close(self) -> None:
        self._connection.close()


def test_every_file_is_there(client: Client, guest: Path) -> None:
    found = client.below("/")
    assert found.pop("/lost+found", 0) is None
    passwd = (guest / "etc/passwd").read_bytes()
    links = {"/home/link": passwd, "/home/evil": passwd, "/home/up": None}
    files = {name: content for name, content in contents_below(guest).items() if not name.startswith("/home/")}
    assert found == {**files, **links, "/home/deep": None, "/home/deep/er": None}


def test_it_is_served_and_the_point_held_until_the_mount_is_removed(site: Site) -> None:
    def holds() -> list[Any]:
        return list(site.run("point", "show", "web01@latest", "--json").value["holds"])

    mount = mounted(site)
    during = holds()
    assert (mount["kind"], mount["tls"], mount["user"]) == ("webdav", False, "holdfast")
    assert mount["url"].startswith("http://127.0.0.1:")
    with closing(Client(mount)) as client:
        assert client.ask("GET", "/etc/passwd")[0] == 200
        assert site.run("mount", "remove", mount["id"]).status == 0  # the client is still connected
    assert len(during) - len(holds()) == 1
    with pytest.raises(ConnectionRefusedError):
        client.ask("GET", "/etc/passwd")


def test_what_clients_ask_for(mount: dict[str, Any], client: Client, guest: Path, tmp_path: Path) -> None:
    content = (guest / "big/random").read_bytes()
    assert client.ask("GET", "/big/random", Range="bytes=70000-70009") == (206, content[70000:70010])
    assert client.ask("GET", "/big/random", Range="bytes=-5") == (206, content[-5:])
    assert client.ask("GET", "/big/random", Range="bytes=2000000-")[0] == 416
    assert client.ask("HEAD", "/big/random") == (200, b"")
    assert client.ask("GET", "/etc/../../etc/passwd") == (200, (guest / "etc/passwd").read_bytes())
    for missing in ("/no", "/etc/passwd/no", "/home/nowhere", "/home/pipe"):
        assert client.ask("GET", missing)[0] == 404
    assert client.ask("PROPFIND", "/", Depth="infinity")[0] == 403
    assert client.ask("PROPFIND", "/")[0] == 403
    _, told = client.ask("PROPFIND", "/etc/passwd", Depth="0")
    assert b"<ns0:getcontentlength>11<" in told.replace(b"D:", b"ns0:")
    assert b"Fri, 13 Feb 2009 23:31:30 GMT" in told
    login = f"holdfast:{mount['password']}"
    part = tmp_path / "random"
    part.write_bytes(content[:600_000])  # curl goes on where it was
    subprocess.run(
        ["curl", "-sSf", "-C", "-", "--cacert", mount["trust"], "-u", login, "-o", part, f"{mount['url']}big/random"],
        check=True,
    )
    assert part.read_bytes() == content


def test_nothing_is_written(client: Client) -> None:
    elsewhere = {"Destination": "/new", "Depth": "infinity"}
    for method in ("PUT", "DELETE", "MKCOL", "PROPPATCH", "LOCK", "MOVE", "COPY", "POST"):
        assert client.ask(method, "/etc/passwd", **elsewhere)[0] == 403, method
        assert client.ask(method, "/new", **elsewhere)[0] == 403, method
    assert client.ask("GET", "/new")[0] == 404


def test_only_who_has_the_password_sees_anything(site: Site, mount: dict[str, Any]) -> None:
    for client in (Client(mount, password="x" + mount["password"][1:]), Client({**mount, "user": "root"})):
        for method in ("GET", "PROPFIND", "OPTIONS", "PUT"):
            assert client.ask(method, "/etc/passwd")[0] == 401
        assert client.ask("GET", "/no")[0] == 401
        assert client.ask("GET", "/etc/passwd", Authorization="Bearer x")[0] == 401
        assert client.ask("GET", "/etc/passwd", Authorization="Basic !")[0] in {401, 500}
        client.close()
    process, run = Path(f"/proc/{mount['process']}"), Path(site.environment["HOLDFAST_RUN"])
    kept = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())
    kept += (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert mount["password"].encode() not in kept
    assert mount["password"] not in site.run("mount", "list", "--json").out


def test_with_certificates_nothing_is_told_without_tls(mount: dict[str, Any]) -> None:
    bare = closing(Client({**mount, "url": mount["url"].replace("https", "http")}))
    with bare as client, suppress(ConnectionError, http.client.HTTPException):
        assert client.ask("GET", "/etc/passwd")[0] == 400


def test_a_damaged_block_ends_the_answer_and_the_log_says_which(site: Site, tmp_path: Path, guest: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site.repository, copy)
    mount, content = mounted(site, "--webdav", "--repository", copy), (guest / "big/random").read_bytes()
    client = Client(mount)
    assert client.ask("GET", "/big/random", Range="bytes=0-9") == (206, content[:10])
    for pack in (copy / "packs").rglob("*"):
        if pack.is_file() and pack.stat().st_size > 100_000:
            with pack.open("r+b") as file:
                for at in range(50_000, pack.stat().st_size, 50_000):
                    file.seek(at)
                    file.write(b"damage!!")
    try:
        status, body = client.ask("GET", "/big/random")
        assert status == 500
        assert content[:100] not in body
    except http.client.IncompleteRead as short:
        assert content.startswith(short.partial)
    client.close()
    assert "no good copy of block" in Path(mount["log"]).read_text()
