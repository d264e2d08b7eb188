"""A limit that means nothing ends a command before it has looked at anything."""

import json
from pathlib import Path

import pytest

from holdfast.cli.main import run


@pytest.fixture(autouse=True)
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_PASSPHRASE", "correct horse")
    monkeypatch.delenv("HOLDFAST_BANDWIDTH", raising=False)


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, str]]:
    status = run(["point", "list", "--json", *arguments])
    return status, json.loads(capsys.readouterr().err)["error"]


def test_an_option_that_is_no_limit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "20MiB; mon-fri 8-18=2MiB"
    status, error = error_of(capsys, "--repository", str(tmp_path / "none"), "--limit-rate", said)
    assert (status, error["kind"], error["code"]) == (2, "usage", "bad-rate")
    assert error["message"] == (
        f"--limit-rate: {said!r} is no bandwidth: '8', in 'mon-fri 8-18=2MiB', is no time of day"
    )
    assert "mon-fri 12:00-13:00=500K" in error["hint"]


def test_a_variable_that_is_no_limit_is_refused_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_BANDWIDTH", "fast")
    status, error = error_of(capsys, "--repository", str(tmp_path / "none"))
    assert (status, error["message"]) == (2, "HOLDFAST_BANDWIDTH: 'fast' is no bandwidth: 'fast' is no rate")


def test_a_limit_that_means_something_is_not_what_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "20MiB; mon-fri 08:00-18:00=2MiB"
    status, error = error_of(capsys, "--repository", str(tmp_path / "none"), "--limit-rate", said)
    assert (status, error["kind"]) == (4, "notfound")
