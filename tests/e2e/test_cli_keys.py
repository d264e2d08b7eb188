"""Keys as an administrator knows them: make them, open with them, take them away, restore from the printed page."""

import base64
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast.bootstrap.new_secret import private_file
from holdfast.cli.main import run
from holdfast.core.errors import FullError
from holdfast.repository import LocalDirectory, open_repository
from holdfast.repository.recovery_shares import key_of_shares
from holdfast.repository.storage.port import StorageError
from tests.e2e.command import PASSPHRASE, Site
from tests.support.storage import small_disk

NEW = "a second passphrase, quite long"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Everything a command might write is below one directory."""
    (tmp_path / "tmp").mkdir()
    made = Site(home=tmp_path, environment={"TMPDIR": str(tmp_path / "tmp")})
    made.create()
    return made


def an_image(path: Path) -> Path:
    path.write_bytes(random.Random(1).randbytes(1 << 20))
    return path


def opens(site: Site, **environment: str | None) -> bool:
    done = site.run("point", "list", "--json", **environment)
    assert done.status in {0, 5}, done.err
    return done.status == 0


def test_a_key_is_added_and_taken_away_again(site: Site) -> None:
    added = site.run("repository", "keys", "add", "--new-key-file", "new.key", "--label", "night", "--json")
    assert added.status == 0, added.err
    assert {name: added.value[name] for name in ("number", "kind", "label", "may_delete", "in_use", "state")} == {
        "number": 2,
        "kind": "key-file",
        "label": "night",
        "may_delete": True,
        "in_use": False,
        "state": "valid",
    }
    by_file = {"HOLDFAST_PASSPHRASE": None, "HOLDFAST_KEY_FILE": "new.key"}
    listed = site.run("repository", "keys", "list", "--json", **by_file).value
    assert [(key["number"], key["in_use"]) for key in listed] == [(1, False), (2, True)]
    assert "night" in site.run("repository", "keys", "list").out
    unsure = site.run("repository", "keys", "remove", "2", "--json")
    assert (unsure.status, unsure.error["code"]) == (6, "not-confirmed")
    in_use = site.run("repository", "keys", "remove", "1", "--yes", "--json")
    assert (in_use.status, in_use.error["code"]) == (6, "key-in-use")
    removed = site.run("repository", "keys", "remove", "2", "--yes", "--json")
    assert removed.value == {"removed": 2, "epoch": 2}
    assert not opens(site, **by_file)
    assert opens(site)


def test_a_passphrase_is_changed(site: Site) -> None:
    (site.home / "new").write_text(NEW + "\n")
    assert site.run("repository", "keys", "change", "--new-passphrase-file", "new").status == 0
    assert not opens(site)
    assert opens(site, HOLDFAST_PASSPHRASE=NEW)


def test_a_key_file_is_made_and_opens(site: Site) -> None:
    site.back_up("web", an_image(site.home / "disk.raw"))
    key = site.home / "mover.key"
    added = site.run("repository", "keys", "add", "--new-key-file", key, "--backup-only", "--json")
    assert (added.status, added.value["kind"], added.value["may_delete"]) == (0, "key-file", False)
    assert key.stat().st_mode & 0o777 == 0o600
    for how in ({"HOLDFAST_KEY_FILE": str(key)}, {}):
        option = [] if how else ["--key-file", key]
        shown = site.run("point", "list", "--json", *option, HOLDFAST_PASSPHRASE=None, **how)
        assert [point["machine"] for point in shown.value] == ["web"]
    refused = site.run("repository", "keys", "rotate", "--key-file", key, "--json")
    assert (refused.status, refused.error["code"]) == (5, "no-signing-key")
    again = site.run("repository", "keys", "recovery", "--kit", key, "--json")
    assert (again.status, again.error["code"]) == (2, "file-exists")


def test_a_repository_is_made_with_a_key_file_and_like_another(site: Site) -> None:
    made = site.run("repository", "create", "second", "--key-file", "new.key", "--like", site.repository, "--json",
                    HOLDFAST_LIKE_PASSPHRASE=PASSPHRASE, HOLDFAST_REPOSITORY=None)  # fmt: skip
    assert made.status == 0, made.err
    first = open_repository(LocalDirectory.open(site.repository), PASSPHRASE.encode())
    second = open_repository(LocalDirectory.open(site.home / "second"), (site.home / "new.key").read_bytes())
    assert first.names_alike(second)
    assert first.id != second.id


def test_a_recovery_key_is_shown_once_and_opens(site: Site) -> None:
    shown = site.run("repository", "keys", "recovery")
    words = re.findall("[a-z]{3,}", shown.out)
    assert len(words) == 24
    assert opens(site, HOLDFAST_PASSPHRASE=" ".join(words))
    words[2] = "holdfastt"
    wrong = site.run("point", "list", "--json", HOLDFAST_PASSPHRASE=" ".join(words))
    assert (wrong.status, wrong.error["code"]) == (5, "recovery-key")
    assert "word 3" in wrong.error["message"]


def test_a_recovery_key_in_shares_opens_with_enough_of_them(site: Site) -> None:
    made = site.run("repository", "keys", "recovery", "--shares", "3-of-5", "--label", "board", "--json")
    assert made.status == 0, made.err
    shares = made.value["shares"]
    assert {**made.value, "shares": None} == {"number": 2, "kit": None, "recovery_key": None, "shares": None}
    assert [len(share.split()) for share in shares] == [33] * 5
    listed = site.run("repository", "keys", "list", "--json", HOLDFAST_PASSPHRASE=" / ".join(shares[2:]))
    assert [(key["kind"], key["label"], key["in_use"]) for key in listed.value][1] == ("recovery", "board", True)
    (site.home / "shares").write_text("\n".join([shares[4], shares[0], shares[3]]) + "\n")
    assert opens(site, HOLDFAST_PASSPHRASE=None, HOLDFAST_PASSPHRASE_FILE="shares")
    assert opens(site, HOLDFAST_PASSPHRASE=None, HOLDFAST_PASSPHRASE_COMMAND="cat shares")
    two = site.run("point", "list", "--json", HOLDFAST_PASSPHRASE="\n".join(shares[:2]))
    assert (two.status, two.error["code"]) == (5, "too-few-shares")
    assert "1 more share is needed" in two.error["message"]


@pytest.mark.parametrize(
    ("options", "code"),
    [(("--shares", "1-of-1"), "bad-shares"), (("--shares", "2-of-3", "--kit", "kit.txt"), "usage")],
)
def test_a_key_that_cannot_be_divided_as_asked_is_not_made(site: Site, options: tuple[str, ...], code: str) -> None:
    refused = site.run("repository", "keys", "recovery", *options, "--json")
    assert (refused.status, refused.error["code"]) == (2, code)
    assert not (site.home / "kit.txt").exists()
    assert len(site.run("repository", "keys", "list", "--json").value) == 1


def test_the_printed_page_restores_when_the_passphrase_and_all_slots_are_lost(site: Site) -> None:
    image = an_image(site.home / "disk.raw")
    site.back_up("web", image)
    made = site.run("repository", "keys", "recovery", "--kit", "kit.txt", "--json")
    assert (made.value["recovery_key"], made.value["kit"]) == (None, "kit.txt")
    kit = site.home / "kit.txt"
    assert kit.stat().st_mode & 0o777 == 0o600
    page = kit.read_text(encoding="utf-8")
    assert max(len(line) for line in page.splitlines() if str(site.home) not in line) <= 96, "it is to be printed"
    described = site.run("repository", "info", "--json").value
    assert described["id"] in page
    assert described["url"] in page
    shutil.rmtree(site.repository / "keys")
    words = " ".join(re.findall(r"\d+ ([a-z]{3,})", page.split("in this order")[1].split("The first")[0]))
    assert len(words.split()) == 24
    (command,) = re.findall(r"^ +(base64 -d .*)$", page, re.MULTILINE)
    (site.repository / "keys").mkdir()
    (site.home / "slot.txt").write_text(page[page.index(command) + len(command) :])
    subprocess.run(["sh", "-c", command.replace("REPOSITORY", str(site.repository))], cwd=site.home, check=True)
    done = site.run("restore", "disk", "web@latest", "--disk", "disk", "--output", "out.raw", HOLDFAST_PASSPHRASE=words)
    assert done.status == 0, done.err
    assert (site.home / "out.raw").read_bytes() == image.read_bytes()
    (report,) = site.run("repository", "check", "--json", HOLDFAST_PASSPHRASE=words).end["results"]
    assert [(damage["object"], damage["kind"]) for damage in report["damage"]] == [("keys/1", "missing")]


def forms(secret: bytes) -> Iterator[bytes]:
    """How a secret might stand in a file."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield base64.b64encode(secret).rstrip(b"=")[:-1]
    yield base64.urlsafe_b64encode(secret).rstrip(b"=")[:-1]


def test_no_secret_is_ever_written_in_the_clear(site: Site) -> None:
    marker = b"what the guest wrote is nobody's business " * 3
    (site.home / "disk.raw").write_bytes(marker * 20_000)
    site.back_up("web", site.home / "disk.raw")
    (site.home / "disk.raw").unlink()
    words = re.findall("[a-z]{3,}", site.run("repository", "keys", "recovery").out)
    shares = site.run("repository", "keys", "recovery", "--shares", "2-of-3", "--json").value["shares"]
    assert opens(site, HOLDFAST_PASSPHRASE="/".join(shares[:2]))
    key = site.home / "mover.key"
    site.run("repository", "keys", "add", "--new-key-file", key)
    assert site.run("repository", "keys", "rotate").status == 0
    assert site.run("repository", "check").status == 0
    assert site.run("repository", "keys", "change", HOLDFAST_NEW_PASSPHRASE=NEW).status == 0
    keys = open_repository(LocalDirectory.open(site.repository), NEW.encode()).keys
    assert keys.signing_seed
    secrets = [
        PASSPHRASE.encode(), NEW.encode(), " ".join(words).encode(), " ".join(words[:3]).encode(), key.read_bytes(),
        *(" ".join(share.split()[4:8]).encode() for share in shares), key_of_shares("/".join(shares).encode()) or b"",
        keys.content_secret, *keys.epoch_keys.values(), keys.signing_seed, keys.data_id_key, keys.cut_key, marker[:30],
    ]  # fmt: skip
    written = [path for path in site.home.rglob("*") if path.is_file() and path != key]
    assert {path.relative_to(site.home).parts[0] for path in written} >= {"repository", "cache"}
    for path in written:
        content = path.read_bytes()
        for secret in secrets:
            for form in forms(secret):
                assert form not in content, f"{path} holds a secret"


def test_the_look_through_would_find_a_secret(site: Site) -> None:
    leaked = os.urandom(32)
    assert any(form in b"x" + base64.b64encode(leaked) + b"y" for form in forms(leaked))
    assert any(form in b"{" + leaked.hex().encode() + b"}" for form in forms(leaked))


def test_the_program_leaves_no_core_dump() -> None:
    script = (
        "import ctypes, sys\n"
        "from holdfast.cli.main import main\n"
        "sys.argv = ['holdfast', '--version']\n"
        "try:\n    main()\nexcept SystemExit:\n    print('dumpable', ctypes.CDLL(None).prctl(3))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("dumpable 0\n")


def test_a_kit_that_cannot_be_written_leaves_no_key_that_nobody_has(site: Site) -> None:
    before = site.run("repository", "keys", "list", "--json").value
    failed = site.run("repository", "keys", "recovery", "--kit", "nowhere/kit.txt", "--json")
    assert failed.status
    assert "nowhere/kit.txt" in failed.error["message"]
    assert site.run("repository", "keys", "list", "--json").value == before


def test_a_kit_that_fails_after_its_key_was_added_says_which_key_to_remove(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_page(*_: object) -> str:
        raise StorageError("the slot cannot be read")

    monkeypatch.setattr("holdfast.cli.repository_keys.kit_page", no_page)
    for name, value in site.variables({}).items():
        monkeypatch.setenv(name, value)
    kit = site.home / "kit.txt"
    assert run(["repository", "keys", "recovery", "--kit", str(kit), "--json"]) == 1
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "kit-not-written"
    assert "keys remove 2" in error["hint"]
    assert not kit.exists()


def test_a_key_file_that_cannot_be_written_is_not_left_half(tmp_path: Path) -> None:
    with small_disk(tmp_path / "stick", 1) as stick:
        with suppress(OSError):
            (stick / "of somebody else").write_bytes(bytes(2 * 1024 * 1024))
        with pytest.raises(FullError), private_file(stick / "new.key") as file:
            file.write(bytes(64))
        assert not (stick / "new.key").exists()
