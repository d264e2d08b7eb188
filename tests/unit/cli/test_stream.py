"""Streams: one result per machine, one end, whatever happens between."""

import json
import signal
from typing import Any

import pytest

from holdfast.bootstrap.settings import Options
from holdfast.cli.common import Common
from holdfast.cli.interrupt import Interrupted
from holdfast.cli.stream import Stream, stream
from holdfast.core.errors import NotFoundError, UnreachableError

JSON = Common(options=Options(), json=True, verbose=False)
PLAIN = Common(options=Options(), json=False, verbose=False)


def protect(run: Stream, machine: str, outcome: BaseException | list[str]) -> None:
    """As `backup` does: the outcome is an error, or the warnings of a success."""
    with run.attempt(machine):
        with run.watch(machine) as progress:
            progress.step("Reading")
            if isinstance(outcome, BaseException):
                raise outcome
            for warning in outcome:
                progress.warning(warning)
        run.result({"machine": machine, "point": "0" * 16}, [f"{machine}: done"], warnings=outcome)


def events(capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    captured = capsys.readouterr()
    return [json.loads(line) for line in captured.out.splitlines()], [
        json.loads(line) for line in captured.err.splitlines()
    ]


def test_a_machine_that_fails_does_not_keep_the_next_from_its_turn(capsys: pytest.CaptureFixture[str]) -> None:
    with stream(JSON) as run:
        protect(run, "a", NotFoundError("no machine a", hint="look"))
        protect(run, "b", [])
    told, errors = events(capsys)
    assert run.exit_status == 4
    error = {"kind": "notfound", "message": "no machine a", "hint": "look", "code": "notfound"}
    assert told == [
        {"type": "step", "machine": "a", "step": "Reading"},
        {"type": "step", "machine": "b", "step": "Reading"},
        {
            "type": "end",
            "state": "failed",
            "exit": 4,
            "results": [
                {"machine": "a", "machine_id": None, "point": None, "error": error},
                {"machine": "b", "point": "0" * 16},
            ],
        },
    ]
    assert errors == [{"error": error, "exit": 4}]


def test_different_failures_end_with_one_and_are_each_told(capsys: pytest.CaptureFixture[str]) -> None:
    with stream(JSON) as run:
        protect(run, "a", NotFoundError("a"))
        protect(run, "b", UnreachableError("b"))
    told, errors = events(capsys)
    assert (told[-1]["exit"], run.exit_status) == (1, 1)
    assert [error["exit"] for error in errors] == [4, 7]


def test_warnings_end_with_three(capsys: pytest.CaptureFixture[str]) -> None:
    with stream(JSON) as run:
        protect(run, "a", ["not quiesced"])
        protect(run, "b", [])
    told, errors = events(capsys)
    assert {"type": "warning", "machine": "a", "message": "not quiesced"} in told
    assert (told[-1]["state"], told[-1]["exit"], run.exit_status) == ("warnings", 3, 3)
    assert errors == []


def test_an_error_of_our_own_on_one_machine_does_not_cost_the_next_its_turn(capsys: pytest.CaptureFixture[str]) -> None:
    with stream(JSON) as run:
        protect(run, "a", KeyError("x"))
        protect(run, "b", [])
    told, errors = events(capsys)
    assert [result["point"] for result in told[-1]["results"]] == [None, "0" * 16]
    assert errors[0]["error"]["code"] == "internal"


@pytest.mark.parametrize(
    ("error", "status"), [(Interrupted(signal.SIGTERM), 143), (UnreachableError("x"), 7), (KeyError("x"), 1)]
)
def test_what_ends_the_whole_run_is_told_with_the_results_up_to_then(
    error: BaseException, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_until(error: BaseException) -> None:
        with stream(JSON) as run:
            protect(run, "a", [])
            raise error

    with pytest.raises(type(error)):
        run_until(error)
    told, _ = events(capsys)
    assert told[-1] == {
        "type": "end",
        "state": "failed",
        "exit": status,
        "results": [{"machine": "a", "point": "0" * 16}],
    }


def test_an_interrupt_is_not_one_machines_failure() -> None:
    run = Stream(common=PLAIN)
    with pytest.raises(Interrupted):
        protect(run, "a", Interrupted(signal.SIGINT))
    assert run.results == []


def test_people_get_lines_and_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    with stream(PLAIN) as run:
        protect(run, "a", ["odd\x1b"])
    captured = capsys.readouterr()
    assert captured.out == "a: done\n"
    assert captured.err == "a: Reading\na: warning: odd�\n"
