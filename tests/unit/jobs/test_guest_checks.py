"""What is concluded from what a machine on trial says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from holdfast.core.ending import ask_to_end, forget_ending
from holdfast.core.errors import FailedError
from holdfast.core.guest import Executed, GuestError
from holdfast.core.progress import Silence
from holdfast.core.verification import CheckOutcome
from holdfast.jobs.guest_checks import Expectations, boots, checks_inside, kernel_trouble, listening_ports

MOUNTS = "proc /proc proc rw 0 0\n/dev/vda2 / ext4 rw,relatime 0 0\n/dev/sda1 /srv xfs {} 0 0\n"
TCP = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
    "   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
    "   1: 0100007F:0016 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0\n"
)


@dataclass
class Machine:
    """A TrialMachine that says what it was told to."""

    printed: str = ""
    has_agent: bool = True
    agent_s: float | None = 4.0
    running: bool = True
    files: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, Executed] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    patience: list[float] = field(default_factory=list)

    def start(self) -> None: ...

    def wait_for_agent(self, timeout_s: float) -> float | None:
        self.patience.append(timeout_s)
        return self.agent_s

    def is_running(self) -> bool:
        return self.running

    def console(self) -> str:
        return self.printed

    def screen(self) -> bytes | None:
        return None

    def read(self, path: str, limit_bytes: int) -> str:
        if path not in self.files:
            raise GuestError(f"{path} cannot be read")
        return self.files[path][:limit_bytes]

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Executed:
        if command[-1] not in self.programs:
            raise GuestError("programs are not allowed here")
        return self.programs[command[-1]]


class Listener(Silence):
    """Keeps warnings and steps."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def warning(self, text: str) -> None:
        self.warnings.append(text)


def expecting(**more: object) -> Expectations:
    return Expectations(timeout_s=0.01, **more)  # type: ignore[arg-type]


def looked_at(machine: Machine, **more: object) -> dict[str, CheckOutcome]:
    return {each.name: each for each in checks_inside(machine, expecting(**more), Silence())}


@pytest.mark.parametrize(
    "printed",
    [
        "[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
        "Boot failed: not a bootable disk",
        "No bootable device.",
        "error: unknown filesystem.\nEntering rescue mode...\ngrub rescue> ",
        "You are in emergency mode. After logging in, type ...",
        "BusyBox v1.30.1\n(initramfs) ",
    ],
)
def test_a_machine_that_says_it_is_dead_is_not_waited_for(printed: str) -> None:
    outcome = boots(Machine(printed=f"SeaBIOS\n{printed}", agent_s=None), Expectations(timeout_s=3600))
    assert not outcome.ok
    assert outcome.detail in printed.replace("\n", " ")


def test_a_machine_that_ended_is_not_waited_for() -> None:
    outcome = boots(Machine(agent_s=None, running=False), Expectations(timeout_s=3600))
    assert not outcome.ok
    assert "ended" in outcome.detail


@pytest.fixture
def ending() -> Iterator[None]:
    """The process has been asked to end."""
    ask_to_end()
    yield
    forget_ending()


@pytest.mark.usefixtures("ending")
def test_who_is_asked_to_end_neither_waits_nor_concludes() -> None:
    patient = Expectations(timeout_s=3600, services=("web",))
    with pytest.raises(FailedError, match="interrupted"):
        boots(Machine(agent_s=None), patient)
    with pytest.raises(FailedError, match="interrupted"):
        list(checks_inside(Machine(), patient, Silence()))


def test_an_agent_is_given_time_to_answer_each_time_it_is_asked() -> None:
    """However long the machine took to start, and however long it has been waited for."""
    machine = Machine(agent_s=None)
    boots(machine, expecting())
    assert len(machine.patience) > 1
    assert set(machine.patience) == {1.0}


def test_a_silent_agent_fails_with_the_last_words_of_the_machine() -> None:
    outcome = boots(Machine(agent_s=None, printed="Loading Linux\nBooting from\x1bHard Disk...\n"), expecting())
    assert not outcome.ok
    assert outcome.detail.endswith("its last words: Booting from Hard Disk...")


def test_without_an_agent_what_is_printed_decides() -> None:
    up, starting = (
        Machine(has_agent=False, agent_s=None, printed=printed) for printed in ("ttyS0\nweb login: ", "Starting up")
    )
    assert boots(up, expecting()).ok
    assert not boots(starting, expecting()).ok
    assert boots(starting, expecting(console="Start")).ok


@pytest.mark.parametrize(
    ("options", "errors", "words"),
    [
        ("rw", "0", "2 mounted for writing"),
        ("ro,noatime", "0", "/srv is mounted read-only"),
        ("rw", "3", "/ has counted 3 errors"),
    ],
)
def test_file_systems_are_sound_if_they_take_writes_and_counted_no_error(options: str, errors: str, words: str) -> None:
    files = {"/proc/mounts": MOUNTS.format(options), "/sys/fs/ext4/vda2/errors_count": errors}
    outcome = looked_at(Machine(files=files))["file systems"]
    assert outcome.ok is (words == "2 mounted for writing")
    assert words in outcome.detail


def test_what_systemd_could_not_start_is_found_without_being_asked_for() -> None:
    machine = Machine(files={"/proc/mounts": ""})
    machine.programs = _any(Executed(status=0, output="web.service loaded failed failed The web\n"))
    outcome = looked_at(machine)["services"]
    assert not outcome.ok
    assert outcome.detail == "failed: web.service"
    machine.programs = _any(Executed(status=0, output=""))
    assert "services" not in looked_at(machine)


def _any(answer: Executed) -> Mapping[str, Executed]:
    class Always(dict[str, Executed]):
        def __contains__(self, _key: object) -> bool:
            return True

        def __getitem__(self, _key: str) -> Executed:
            return answer

    return Always()


def test_services_ports_and_the_script_are_right_or_say_why_not() -> None:
    machine = Machine(
        files={"/proc/net/tcp": TCP},
        programs={
            "good": Executed(status=0, output="active\n"),
            "bad": Executed(status=3, output="failed\n"),
            "-s": Executed(status=5, output="looking\nno rows\n"),
        },
    )
    found = looked_at(machine, services=("good", "bad"), ports=(5432, 22), script=b"exit 5")
    assert {name: each.ok for name, each in found.items()} == {
        "service good": True,
        "service bad": False,
        "port 5432": True,
        "port 22": False,
        "script": False,
    }
    assert found["service bad"].detail == "failed"
    assert found["script"].detail == "exit status 5: no rows"


def test_what_cannot_be_asked_is_a_warning_unless_it_was_asked_for() -> None:
    listener = Listener()
    outcomes = list(checks_inside(Machine(), expecting(services=("web",)), listener))
    assert [(each.name, each.ok) for each in outcomes] == [("service web", False)]
    assert len(listener.warnings) == 2


def test_what_is_waited_for_is_told_and_for_how_long() -> None:
    listener = Listener()
    list(checks_inside(Machine(), expecting(services=("web",), ports=(22,), script=b"true"), listener))
    assert listener.steps == [
        "Waiting for service web (up to 0.01 s)",
        "Waiting for port 22 (up to 0.01 s)",
        "Running the script (up to 0.01 s)",
    ]


def test_a_kernel_that_complains_of_its_disks_fails_the_trial() -> None:
    assert kernel_trouble(Machine(printed="EXT4-fs (vda1): mounted filesystem")).ok
    outcome = kernel_trouble(Machine(printed="x\nEXT4-fs error (device vda1): ext4_lookup:1785: inode #2\ny"))
    assert not outcome.ok
    assert outcome.detail == "EXT4-fs error (device vda1): ext4_lookup:1785: inode #2"


@pytest.mark.parametrize("table", ["", "header", "h\n0: nonsense", "h\n 0: 0:ZZZZ 0:0 0A", "h\n 0: 1 2 0A 3"])
def test_nonsense_in_the_table_of_connections_is_no_port(table: str) -> None:
    assert listening_ports([table]) == set()
