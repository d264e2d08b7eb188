"""A local directory: what it does in which order, and what it makes of a kernel that fails it."""

import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast.core.errors import DeniedError, FullError, HoldfastError, NotFoundError, RefusedError
from holdfast.repository import LocalDirectory
from holdfast.repository.storage.port import ObjectExistsError, StorageError
from tests.support.kernel import Event, Hook, Kernel, always, at, is_private, once, watched
from tests.support.repositories import new_repository

NAME = "packs/ab/abcd"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    LocalDirectory.create(tmp_path / "repository")
    return tmp_path / "repository"


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with watched() as kernel:
        yield kernel


def drafts(root: Path) -> list[Path]:
    return list((root / "tmp").iterdir()) if (root / "tmp").exists() else []


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


# --- order ------------------------------------------------------------------------------------------------------------


def test_an_object_is_written_synced_named_and_its_name_synced_in_that_order(root: Path, kernel: Kernel) -> None:
    LocalDirectory.open(root).put(NAME, [b"con", b"tent"])
    (draft,) = {event.path for event in kernel.steps("create")}
    about = [
        (event.kind, event.path) for event in kernel.trace if event.path in {draft, root / NAME, root / "packs/ab"}
    ]
    assert about == [
        ("mkdir", root / "packs/ab"),
        ("create", draft),
        ("write", draft),
        ("sync", draft),
        ("close", draft),  # it was read back
        ("link", root / NAME),
        ("sync", root / "packs/ab"),
        ("close", root / "packs/ab"),
        ("unlink", draft),
        ("close", draft),
    ]
    assert draft.parent == root / "tmp"


def test_every_directory_it_makes_is_made_durable_in_its_parent_first(root: Path, kernel: Kernel) -> None:
    LocalDirectory.open(root).put("packs/ab/abcd", [b"x"])
    syncs_and_links = [(event.kind, event.path) for event in kernel.steps("mkdir", "sync", "link")]
    naming = syncs_and_links.index(("link", root / "packs/ab/abcd"))
    for folder in (root / "packs", root / "packs/ab", root / "tmp"):
        made = syncs_and_links.index(("mkdir", folder))
        assert made < syncs_and_links.index(("sync", folder.parent), made) < naming


def test_a_new_repositorys_directory_is_made_durable_in_its_parent(tmp_path: Path, kernel: Kernel) -> None:
    LocalDirectory.create(tmp_path / "new")
    assert [(event.kind, event.path) for event in kernel.steps("mkdir", "sync")] == [
        ("mkdir", tmp_path / "new"),
        ("sync", tmp_path),
    ]


def test_a_directory_that_another_process_made_is_synced_by_whoever_uses_it_first(root: Path, kernel: Kernel) -> None:
    (root / "packs").mkdir()
    (root / "packs/ab").mkdir()
    kernel.trace.clear()
    LocalDirectory.open(root).put("packs/ab/abcd", [b"x"])
    synced = [event.path for event in kernel.steps("sync")]
    assert synced.index(root) < synced.index(root / "packs") < synced.index(root / "packs/ab")


def test_a_name_found_with_the_same_bytes_is_made_durable_before_the_put_returns(root: Path, kernel: Kernel) -> None:
    """It may be the work of a process that died between naming and syncing."""
    first = LocalDirectory.open(root)
    first.put(NAME, [b"content"])
    kernel.trace.clear()
    first.put(NAME, [b"content"])
    synced = [event.path for event in kernel.steps("sync")]
    assert synced[-2:] == [root / NAME, root / "packs/ab"]


def test_what_a_listing_has_shown_is_durable(root: Path, kernel: Kernel) -> None:
    """Another process may have named it and not yet synced the name; what builds on the listing must not outlive it."""
    (root / "index").mkdir()
    (root / "index/one").write_bytes(b"x")
    storage = LocalDirectory.open(root)
    assert [stored.name for stored in storage.list("index/")] == ["index/one"]
    assert root / "index" in [event.path for event in kernel.steps("sync")]


def test_a_deleted_name_is_gone_durably_before_the_delete_returns(root: Path, kernel: Kernel) -> None:
    storage = LocalDirectory.open(root)
    storage.put(NAME, [b"content"])
    kernel.trace.clear()
    storage.delete(NAME)
    steps = [(event.kind, event.path) for event in kernel.steps("unlink", "sync")]
    assert steps == [("unlink", root / NAME), ("sync", root / "packs/ab")]


def test_a_name_that_somebody_else_unlinked_is_gone_durably_too(root: Path, kernel: Kernel) -> None:
    """Another process may have died between unlinking and syncing."""
    storage = LocalDirectory.open(root)
    storage.put(NAME, [b"content"])
    (root / NAME).unlink()
    kernel.trace.clear()
    storage.delete(NAME)
    assert [(event.kind, event.path) for event in kernel.steps("sync")] == [("sync", root / "packs/ab")]


@pytest.mark.parametrize("call", ["unlink", "fsync"])
def test_a_delete_that_fails_is_an_error(root: Path, kernel: Kernel, call: str) -> None:
    storage = LocalDirectory.open(root)
    storage.put(NAME, [b"content"])
    kernel.before[call] = once(error(errno.EIO))
    with pytest.raises(StorageError, match="packs/ab"):
        storage.delete(NAME)


def test_files_and_directories_are_nobody_elses_to_read(root: Path) -> None:
    LocalDirectory.open(root).put(NAME, [b"x"])
    assert is_private(root)
    assert all(is_private(path) for path in root.rglob("*"))


# --- a kernel that does less than it was asked ------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 7, 4096])
def test_short_writes_and_short_reads_are_carried_on(root: Path, kernel: Kernel, most: int) -> None:
    kernel.longest_write = kernel.longest_read = most
    content = random.Random(most).randbytes(min(300_000, most * 900))
    storage = LocalDirectory.open(root)
    storage.put(NAME, [content[:5], b"", content[5:100], content[100:]])
    assert storage.get(NAME) == content
    buffer = bytearray(50)
    storage.read_into(NAME, 3, memoryview(buffer))
    assert buffer == content[3:53]


def test_signals_in_the_middle_of_a_put_change_nothing(root: Path) -> None:
    heard = 0

    def hear(*_: object) -> None:
        nonlocal heard
        heard += 1

    before = signal.signal(signal.SIGALRM, hear)
    content = random.Random(1).randbytes(24 * 1024 * 1024)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        storage = LocalDirectory.open(root)
        storage.put(NAME, [content])
        assert storage.get(NAME) == content
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert heard > 3


# --- a kernel that fails ----------------------------------------------------------------------------------------------


def test_after_a_failed_sync_the_file_is_thrown_away_and_written_anew(root: Path, kernel: Kernel) -> None:
    kernel.before["fsync"] = files_only(once(error(errno.EIO)), root)
    LocalDirectory.open(root).put(NAME, [b"content"])
    first, second = kernel.steps("create")
    assert [event.path for event in kernel.steps("write")] == [first.path, second.path]
    assert [event.path for event in kernel.steps("sync") if event.path.parent == root / "tmp"] == [second.path]
    assert [event.other for event in kernel.steps("link")] == [second.path]
    assert (root / NAME).read_bytes() == b"content"
    assert drafts(root) == []


@pytest.mark.parametrize("call", ["open", "writev", "fsync", "preadv"])
def test_a_call_that_always_fails_is_an_error_and_leaves_nothing(root: Path, kernel: Kernel, call: str) -> None:
    kernel.before[call] = files_only(always(error(errno.EIO)), root)
    with pytest.raises(StorageError, match=NAME):
        LocalDirectory.open(root).put(NAME, [b"content"])
    assert not (root / NAME).exists()
    assert drafts(root) == []


def test_bytes_read_back_that_differ_are_written_anew(root: Path, kernel: Kernel) -> None:
    flips = [1]

    def preadv(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        count = os.preadv(descriptor, buffers, offset)
        if flips and offset > 0:
            buffers[0][100] ^= flips.pop()
        return count

    kernel.preadv = preadv  # type: ignore[method-assign]
    content = random.Random(2).randbytes(4_000_000)
    LocalDirectory.open(root).put(NAME, [content])
    assert flips == []
    assert len(kernel.steps("create")) == 2
    assert (root / NAME).read_bytes() == content


def test_bytes_read_back_that_keep_differing_never_get_a_name(root: Path, kernel: Kernel) -> None:
    def preadv(_descriptor: int, buffers: Sequence[memoryview], _offset: int) -> int:
        return len(buffers[0])

    kernel.preadv = preadv  # type: ignore[method-assign]
    with pytest.raises(StorageError, match="differs"):
        LocalDirectory.open(root).put(NAME, [b"content"])
    assert not (root / NAME).exists()
    assert drafts(root) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["open", "writev", "fsync", "link"])
def test_no_space_at_any_call_is_said_to_be_that(root: Path, kernel: Kernel, call: str, number: int) -> None:
    kernel.before[call] = files_only(always(error(number)), root)
    with pytest.raises(FullError, match=NAME) as caught:
        LocalDirectory.open(root).put(NAME, [b"content"])
    assert caught.value.hint
    assert not (root / NAME).exists()
    assert drafts(root) == []


def test_a_failure_at_any_call_at_all_is_an_error_of_ours_or_none(root: Path) -> None:
    """And the same put, sent again, succeeds; no descriptor and no draft is left behind."""
    for call in ("open", "writev", "fsync", "preadv", "link", "unlink"):
        for number in range(1, 9):
            with watched() as kernel:
                hook, calls = at(number, error(errno.EIO))
                kernel.before[call] = hook
                name = f"packs/ab/{call}-{number}"
                storage = LocalDirectory.open(root)
                before = open_files()
                with suppress(StorageError):
                    storage.put(name, [b"content"])
                assert open_files() == before
                kernel.before.clear()
                storage.put(name, [b"content"])
                assert storage.get(name) == b"content"
            if len(calls) < number:
                break
        else:
            pytest.fail(f"{call} is called more often than this test can tell")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_failed_sync_of_a_name_is_an_error_although_the_name_shows(root: Path, kernel: Kernel) -> None:
    storage = LocalDirectory.open(root)
    storage.put("packs/ab/other", [b"x"])
    kernel.before["fsync"] = folders_only(always(error(errno.EIO)), root)
    with pytest.raises(StorageError):
        storage.put(NAME, [b"content"])


def files_only(hook: Hook, root: Path) -> Hook:
    return lambda path: hook(path) if path.parent == root / "tmp" or path == root / NAME else None


def folders_only(hook: Hook, root: Path) -> Hook:
    return lambda path: hook(path) if path == root / "packs/ab" else None


# --- drafts of the dead -----------------------------------------------------------------------------------------------

DYING_WRITER = """
import os, sys
from pathlib import Path
from holdfast.repository import LocalDirectory
from holdfast.repository.storage import local
def die(*_):
    print("dying", flush=True)
    os.kill(os.getpid(), 9)
local._Draft.publish = die
LocalDirectory.open(Path(sys.argv[1])).put("packs/ab/abcd", [b"content"])
"""
SLOW_WRITER = """
import sys
from pathlib import Path
from holdfast.repository import LocalDirectory
from holdfast.repository.storage import local
publish = local._Draft.publish
def wait(*arguments):
    print("waiting", flush=True)
    sys.stdin.readline()
    publish(*arguments)
local._Draft.publish = wait
LocalDirectory.open(Path(sys.argv[1])).put("packs/ab/abcd", [b"content"])
"""


def begin_to_write(root: Path) -> None:
    """Whoever is about to write for the first time sweeps."""
    LocalDirectory.open(root).put("log/1", [b"x"])


def test_drafts_of_dead_processes_are_swept_and_those_of_living_ones_are_not(root: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"waiting\n"
        living = drafts(root)
        subprocess.run([sys.executable, "-c", DYING_WRITER, str(root)], check=False, stdout=subprocess.DEVNULL)
        assert len(drafts(root)) == len(living) + 1 == 2
        begin_to_write(root)
        assert drafts(root) == living
        writer.stdin.write(b"go on\n")
        writer.stdin.close()
        assert writer.wait() == 0
    assert (root / NAME).read_bytes() == b"content"
    assert drafts(root) == []


def test_a_draft_swept_before_its_writer_could_lock_it_costs_nothing(root: Path, kernel: Kernel) -> None:
    """Between the creation of a draft and its lock another process may sweep it."""
    swept: list[str | Path] = []
    opened = kernel.open

    def open_and_lose(path: str | Path, flags: int, mode: int = 0o777) -> int:
        descriptor = opened(path, flags, mode)
        if flags & os.O_CREAT and len(swept) < 2:
            swept.append(path)
            with watched():
                begin_to_write(root)
        return descriptor

    kernel.open = open_and_lose  # type: ignore[method-assign]
    LocalDirectory.open(root).put(NAME, [b"content"])
    assert len(swept) == 2
    assert (root / NAME).read_bytes() == b"content"
    assert drafts(root) == []


def test_sweeping_beside_many_writers_takes_nothing_from_them(root: Path) -> None:
    done = threading.Event()
    storage = LocalDirectory.open(root)
    failures: list[Exception] = []

    def write(writer: int) -> None:
        try:
            for number in range(60):
                storage.put(f"packs/{writer:02}/{number}", [b"content of %d" % number])
        except HoldfastError as failure:
            failures.append(failure)

    def sweep() -> None:
        while not done.is_set():
            begin_to_write(root)

    sweeper = threading.Thread(target=sweep)
    writers = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for thread in (sweeper, *writers):
        thread.start()
    for writer in writers:
        writer.join()
    done.set()
    sweeper.join()
    assert failures == []
    assert len(list(storage.list("packs/"))) == 240


# --- several processes ------------------------------------------------------------------------------------------------

RACER = """
import sys
from pathlib import Path
from holdfast.repository import LocalDirectory
from holdfast.repository.storage.port import ObjectExistsError
storage, racer, rounds = LocalDirectory.open(Path(sys.argv[1])), sys.argv[2].encode(), int(sys.argv[3])
print("ready", flush=True)
for number in range(rounds):
    sys.stdin.readline()
    try:
        storage.put(f"log/{number:012}", [racer * 1000])
        won = True
    except ObjectExistsError:
        won = False
    print(number, int(won), storage.get(f"log/{number:012}")[:1].decode(), flush=True)
"""


def test_of_racing_processes_exactly_one_wins_each_name_and_all_read_its_bytes(root: Path) -> None:
    rounds, names = 80, "abc"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(root), name, str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    told: list[list[str]] = [[] for _ in racers]
    for _ in range(rounds):
        for racer, lines in zip(racers, told, strict=True):
            assert racer.stdout is not None
            lines.append(racer.stdout.readline())
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
    for racer, lines in zip(racers, told, strict=True):
        lines.append(racer.communicate()[0])
    outcomes = [" ".join(lines[1:]).split() for lines in told]
    assert [racer.returncode for racer in racers] == [0] * len(names)
    storage = LocalDirectory.open(root)
    winners = []
    for number in range(rounds):
        content = storage.get(f"log/{number:012}").decode()
        assert content == content[0] * 1000
        rows = [outcome[3 * number : 3 * number + 3] for outcome in outcomes]
        assert [row[0] for row in rows] == [str(number)] * len(names)
        assert [name for name, row in zip(names, rows, strict=True) if row[1] == "1"] == [content[0]]
        assert {row[2] for row in rows} == {content[0]}
        winners.append(content[0])
    assert len(set(winners)) > 1, "the processes never raced"


# --- places that cannot be used ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [None, "config"])
def test_nobody_is_told_to_remove_what_may_be_a_repository(tmp_path: Path, lost: str | None) -> None:
    new_repository(LocalDirectory.create(tmp_path))
    if lost:
        (tmp_path / lost).unlink()
    with pytest.raises(RefusedError, match="is a repository already") as refused:
        LocalDirectory.create(tmp_path)
    assert "remove" not in refused.value.hint
    for name in ("config", "config.2"):
        (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(RefusedError, match="interrupted") as refused:
        LocalDirectory.create(tmp_path)
    assert "remove" in refused.value.hint


def test_a_missing_parent_a_used_directory_and_a_missing_repository_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=f"{tmp_path}/missing does not exist"):
        LocalDirectory.create(tmp_path / "missing" / "repository")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(RefusedError, match="not empty"):
        LocalDirectory.create(tmp_path / "used")
    with pytest.raises(NotFoundError, match="no repository"):
        LocalDirectory.open(tmp_path / "nothing")
    (tmp_path / "file").touch()
    for make in (LocalDirectory.create, LocalDirectory.open):
        with pytest.raises(HoldfastError):
            make(tmp_path / "file")


def test_a_read_only_file_system_is_read_and_says_so_when_written(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=True)
    try:
        storage = LocalDirectory.create(place / "repository")
        storage.put("log/1", [b"x"])
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        stranger = LocalDirectory.open(place / "repository")
        assert stranger.get("log/1") == b"x"
        assert [stored.name for stored in stranger.list("")] == ["log/1"]
        with pytest.raises(DeniedError, match="log/2"):
            stranger.put("log/2", [b"y"])
    finally:
        subprocess.run(["umount", place], check=True)


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from holdfast.repository import LocalDirectory
from holdfast.core.errors import DeniedError
os.setgid(65534); os.setuid(65534)
storage = LocalDirectory(Path(sys.argv[1]))
for ask in (lambda: storage.get("log/1"), lambda: storage.put("log/2", [b"x"]), lambda: list(storage.list("log/")),
            lambda: storage.read_into("log/1", 0, memoryview(bytearray(1))), lambda: storage.size("log/1")):
    try:
        ask()
    except DeniedError as error:
        assert str(sys.argv[1]) in str(error)
        print("denied")
"""


def test_permission_denied_is_told_as_that(tmp_path: Path) -> None:
    """Nobody in particular may pass through the directories, but not into the repository."""
    with tempfile.TemporaryDirectory(prefix="hf-", dir="/tmp") as place:
        Path(place).chmod(0o755)
        LocalDirectory.create(Path(place, "repository")).put("log/1", [b"x"])
        told = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, f"{place}/repository"], check=True, stdout=subprocess.PIPE, text=True
        )
    assert told.stdout.split() == ["denied"] * 5


def test_the_events_of_the_trace_name_what_they_are_about(root: Path, kernel: Kernel) -> None:
    """The watcher itself: a trace that misses calls would let every order pass."""
    LocalDirectory.open(root).put("config", [b"x"])
    draft = kernel.steps("create")[0].path
    assert Event("write", draft, None, b"x") in kernel.trace
    assert Event("link", root / "config", draft) in kernel.trace
    with pytest.raises(ObjectExistsError):
        LocalDirectory.open(root).put("config", [b"y"])
