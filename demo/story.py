"""The story the demo tells: protect, change, protect again, recover both points, ask both machines."""

import secrets
from dataclasses import dataclass
from typing import Any

from demo.evidence import Testimony, change, prepare, require_proof, testify
from demo.program import Program
from demo.screen import Screen
from holdfast.core.errors import FailedError
from tests.testbed.guest import Guest
from tests.testbed.hosts import private_host
from tests.testbed.lab import Lab, open_lab

_MACHINE = "webshop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """A backup as the program reported it, and what the guest said of itself right before."""

    backup: dict[str, Any]
    testimony: Testimony


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """A point that came back as a running machine. `proved`: the machine itself said that all is as it was."""

    point: str
    seconds_to_agent: float
    proved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `build/demo.json` holds when all went well, `ok` apart."""

    backups: tuple[dict[str, Any], ...]
    recoveries: tuple[Recovery, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the story plays: a lab on a private host, and the program with a new repository."""

    lab: Lab
    program: Program
    screen: Screen

    def protect(self, guest: Guest) -> Protected:
        """Back the guest up while it writes."""
        testimony = testify(guest)
        with self.screen.command(f"holdfast backup --connect URI {guest.name}") as watch:
            (backup,) = self.program.stream("backup", "--connect", self.lab.host.uri, guest.name, watch=watch)
        return Protected(backup=backup, testimony=testimony)

    def recover(self, protected: Protected, name: str) -> Recovery:
        """Make a new machine of the point, start it and ask it. Raises FailedError if it is not what it was."""
        point = protected.backup["point"]
        storage = self.lab.directory / name
        storage.mkdir()
        reference = f"{_MACHINE}@{point}"
        to = ("--connect", self.lab.host.uri, "--name", name, "--storage", str(storage), "--start")
        with self.screen.command(f"holdfast restore machine {reference} --connect URI --name {name} --start") as watch:
            (restored,) = self.program.stream("restore", "machine", reference, *to, watch=watch)
        if restored["seconds_to_agent"] is None:
            raise FailedError(f"the agent of {name} did not answer", code="no-agent")
        said = require_proof(self.lab.find(name), protected.testimony)
        self.screen.say(f"{name} answers: {len(said.files)} files, each with its right hash, none too many")
        return Recovery(point=point, seconds_to_agent=restored["seconds_to_agent"], proved=True)


def tell(screen: Screen) -> Report:
    """The demo from beginning to end. Raises whatever goes wrong; either way nothing of it stays on the machine."""
    screen.say("Starting a private libvirt host and a small guest that boots from its own disk")
    with private_host("demo") as host, open_lab(host) as lab:
        guest = lab.boot_from_disk(_MACHINE, [lab.system_disk(_MACHINE)])
        prepare(guest)
        screen.say(f"{guest.name} is up and never stops writing")

        program = Program(home=lab.directory, passphrase=secrets.token_hex(16))
        with screen.command("holdfast repository create"):
            program.call("repository", "create")
        stage = Stage(lab=lab, program=program, screen=screen)

        older = stage.protect(guest)
        screen.say(f"{guest.name} changes: a new file, and another one rewritten")
        change(guest)
        newer = stage.protect(guest)
        _require_increment(newer.backup)
        recoveries = (stage.recover(older, f"{_MACHINE}-older"), stage.recover(newer, f"{_MACHINE}-newer"))
    return Report(backups=(older.backup, newer.backup), recoveries=recoveries)


def _require_increment(backup: dict[str, Any]) -> None:
    if backup["capture"] != "incremental":
        reasons = "; ".join(disk["reason"] for disk in backup["disks"])
        raise FailedError(f"the second backup was no increment: {reasons}", code="not-incremental")
