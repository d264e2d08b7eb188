"""What is asked of a computer, and how the answers are judged."""

from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.bootstrap.inspection import probes
from holdfast.bootstrap.settings import StorageSettings
from holdfast.core.errors import FailedError
from holdfast.jobs.doctor import Check, Checkup, Probe, examine, require_version


def failing() -> str:
    raise FailedError("version 1", hint="install version 2")


def test_one_failed_check_spoils_the_whole_but_not_the_others() -> None:
    wanted = [Probe(name="a", needed="2", look=failing), Probe(name="b", needed="any", look=lambda: "here")]
    assert examine(wanted) == Checkup(
        ok=False,
        checks=(
            Check(name="a", ok=False, found="version 1", needed="2", remedy="install version 2"),
            Check(name="b", ok=True, found="here", needed="any", remedy=""),
        ),
    )


@pytest.mark.parametrize(
    ("text", "minimum", "enough"),
    [
        ("qemu-img version 7.2.22 (Debian 1:7.2)", "7.2", True),
        ("qemu-img version 10.0.1", "7.2", True),
        ("7.1.99", "7.2", False),
        ("7.2", "7.2.1", False),
        ("no number", "1.0", False),
        ("version 8", "1.0", False),
    ],
)
def test_versions_are_compared_by_number(text: str, minimum: str, enough: bool) -> None:  # noqa: FBT001
    assert require_version(text, minimum) is enough


def by_name(repository: Path) -> Callable[[str], Check]:
    storage = StorageSettings(location=repository, cache=repository / "cache")
    checks = {check.name: check for check in examine(probes(None, storage)).checks}
    return checks.__getitem__


def test_a_directory_without_a_repository_can_be_written_to_but_is_none(tmp_path: Path) -> None:
    check = by_name(tmp_path)
    assert not check("repository").ok
    assert "holdfast repository create" in check("repository").remedy
    assert check("repository sync").ok
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_fails_with_remedies_and_without_a_traceback(tmp_path: Path) -> None:
    check = by_name(tmp_path / "none")
    for name in ("repository", "repository sync", "repository space", "repository trust"):
        assert not check(name).ok
        assert check(name).remedy


def test_a_missing_program_is_named_with_the_package_that_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    checks = {check.name: check for check in examine(probes(None, None)).checks}
    assert checks["qemu-img"] == Check(
        name="qemu-img", ok=False, found="missing", needed=checks["qemu-img"].needed, remedy="install qemu-utils"
    )


def test_a_program_too_old_or_broken_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    for name, line in (("qemu-img", "echo qemu-img version 2.1.0"), ("qemu-nbd", "exit 9")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    checks = {check.name: check for check in examine(probes(None, None)).checks}
    assert checks["qemu-img"].found == "qemu-img version 2.1.0"
    assert "7.2 or later" in checks["qemu-img"].remedy
    assert not checks["qemu-nbd"].ok
