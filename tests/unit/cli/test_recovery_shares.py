"""How many shares are asked for, and how they are shown."""

import re

import pytest

from holdfast.cli.recovery_kit import in_rows
from holdfast.cli.recovery_shares import parse_division, share_lines
from holdfast.core.errors import UsageError
from holdfast.repository import Division, shares_of_key
from holdfast.repository.recovery import as_recovery_key, new_recovery_key
from holdfast.repository.recovery_shares import key_of_shares

_REPOSITORY = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(("text", "wanted"), [("2-of-2", (2, 2)), ("3-of-5", (3, 5)), ("16-of-16", (16, 16))])
def test_shares_are_asked_for_as_k_of_n(text: str, wanted: tuple[int, int]) -> None:
    assert parse_division(text) == Division(needed=wanted[0], count=wanted[1])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1-of-1", "divides nothing"),
        ("1-of-5", "divides nothing"),
        ("0-of-3", "divides nothing"),
        ("4-of-3", "cannot be"),
        ("2-of-17", "cannot be"),
        ("2-of-9999", "cannot be"),
        ("", "is not K-of-N"),
        ("3", "is not K-of-N"),
        ("3-of-5 ", "is not K-of-N"),
        ("-3-of-5", "is not K-of-N"),
        ("\N{ARABIC-INDIC DIGIT THREE}-of-5", "is not K-of-N"),
        ("3-of-99999999999", "is not K-of-N"),
    ],
)
def test_what_divides_no_key_is_refused_with_a_hint(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        parse_division(text)
    assert caught.value.code == "bad-shares"
    assert caught.value.hint


def test_shown_shares_say_their_number_and_open_as_they_are_read_out() -> None:
    key = new_recovery_key()
    division = Division(needed=2, count=3)
    lines = share_lines(shares_of_key(key, division), division, _REPOSITORY)
    assert [line for line in lines if line.startswith("Share")] == [
        f"Share {number} of 3, 2 open repository {_REPOSITORY}" for number in (1, 2, 3)
    ]
    assert lines[0].startswith("Any 2 of these 3 shares")
    assert max(map(len, lines)) <= 80
    pages = re.split(r"Share \d of 3.*\n", "\n".join(lines))[1:]
    shares = [" ".join(re.findall(r"\d+ ([a-z]+)", page)) for page in pages]
    assert [len(share.split()) for share in shares] == [33, 33, 33]
    assert key_of_shares("\n".join(shares[1:]).encode()) == key.encode()


def test_shares_and_keys_open_as_they_are_shown() -> None:
    key, division = new_recovery_key(), Division(needed=2, count=3)
    shown = "\n".join(share_lines(shares_of_key(key, division), division, _REPOSITORY))
    assert key_of_shares(shown.encode()) == key.encode()
    assert key_of_shares(shown.replace("\n", " ").encode()) == key.encode()
    assert as_recovery_key("\n".join(in_rows(key)).encode()) == key.encode()
