"""A recovery key in shares: enough of them open, and whatever is wrong with them is said."""

import re
from dataclasses import replace
from typing import Any

import pytest
from shamir_mnemonic import Share

from holdfast.core.errors import DeniedError, FailedError
from holdfast.repository import Division, MemoryStorage, Repository, TooFewSharesError, open_repository, shares_error
from holdfast.repository.recovery import new_recovery_key
from holdfast.repository.recovery_shares import key_of_shares, shares_of_key
from tests.support.secrets import a_secret, opens

KEY = new_recovery_key()
THREE_OF_FIVE = Division(needed=3, count=5)
SHARES = shares_of_key(KEY, THREE_OF_FIVE)


def typed(*shares: str) -> bytes:
    return "\n".join(shares).encode()


def changed(share: str, **fields: Any) -> str:
    """A share that says something else, with the checksum for it."""
    return str(replace(Share.from_mnemonic(share), **fields).mnemonic())


def message(*shares: str) -> str:
    secret = typed(*shares)
    assert key_of_shares(secret) is None
    error = shares_error(secret)
    assert error
    assert error.hint
    return error.message


def test_shares_open_the_slot_of_the_key_and_too_few_say_how_many_are_missing(
    repository: Repository, storage: MemoryStorage
) -> None:
    repository.keyring.add(a_secret(KEY.encode(), "recovery"), "")
    opened = opens(storage, typed(*SHARES[2:]))
    assert opened
    assert opened.keyring.in_use == 2
    with pytest.raises(TooFewSharesError, match="1 more share is needed: it takes 3") as caught:
        open_repository(storage, typed(*SHARES[:2]))
    assert (caught.value.code, caught.value.missing) == ("too-few-shares", 1)
    assert message(SHARES[4]).startswith("2 more shares are needed")


@pytest.mark.usefixtures("repository")
def test_shares_that_are_right_but_of_another_repository_are_a_wrong_passphrase(storage: MemoryStorage) -> None:
    with pytest.raises(DeniedError) as caught:
        open_repository(storage, typed(*SHARES[:3]))
    assert caught.value.code == "wrong-passphrase"


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(SHARES[:3]),
        " / ".join(SHARES[2:]),
        "/".join(SHARES),
        " ".join(SHARES[1:4]),
        "\n\n".join(SHARES[:3]).upper() + "\n",
        "\r\n".join(" ".join(word[:4] for word in share.split()) for share in SHARES[:3]),
        "\n".join(share.replace(" ", "\n", 20) for share in SHARES[:3]),
        "\n".join(re.findall(r"(?:\w+\s*){1,35}", " ".join(SHARES[:3]))),
        "\n".join([*SHARES[:2], SHARES[0], SHARES[3]]),
    ],
)
def test_shares_are_known_however_they_are_typed(text: str) -> None:
    assert key_of_shares(text.encode()) == KEY.encode()
    assert shares_error(text.encode()) is None


def test_a_word_that_is_not_in_the_list_is_named_with_the_nearest() -> None:
    words = SHARES[1].split()
    words[6] = "academik"
    share = " ".join(words)
    assert message(SHARES[0], share) == "word 7 of share 2, 'academik', is not in the list of words; 'academic' is"
    words[6] = "holdfast§"
    assert message(" ".join(words)).startswith("word 7 of share 1, 'holdfast§', is not in the list of words")


@pytest.mark.parametrize("secret", ["my secret passphrase", KEY, " ".join(["hunter"] * 33)])
def test_another_secret_typed_in_the_place_of_a_share_is_not_repeated(secret: str) -> None:
    told = message(f"{SHARES[0]}/{secret}")
    assert told == "a share has 33 words, and share 2 is none"


def test_shares_that_would_not_give_the_key_back_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [shares_of_key(new_recovery_key(), THREE_OF_FIVE)]
    monkeypatch.setattr("holdfast.repository.recovery_shares.generate_mnemonics", lambda *_, **__: others)
    with pytest.raises(FailedError):
        shares_of_key(KEY, THREE_OF_FIVE)


def test_two_words_swapped_are_found() -> None:
    words = SHARES[1].split()
    place = next(place for place in range(10) if words[place] != words[place + 1])
    words[place : place + 2] = reversed(words[place : place + 2])
    assert message(SHARES[0], " ".join(words), SHARES[2]).startswith("the checksum of share 2 does not fit")


@pytest.mark.parametrize("between", ["\n", "/"])
@pytest.mark.parametrize("count", [32, 34])
def test_a_share_with_a_word_missing_or_too_many_is_named(between: str, count: int) -> None:
    share = " ".join([*SHARES[1].split(), "academic"][:count])
    assert message(between.join([SHARES[0], share, SHARES[2]])) == f"a share has 33 words, and share 2 has {count}"


def test_a_word_missing_where_nothing_stands_between_shares_is_found_too() -> None:
    words = " ".join(SHARES[:3]).split()
    del words[40]
    assert message(" ".join(words)).startswith(
        "the checksum of share 2 does not fit: a word is not the right one, is mis"
    )


def test_a_share_given_twice_is_said() -> None:
    assert message(SHARES[0], SHARES[2], SHARES[0]) == "share 3 is the same as share 1"
    error = shares_error(typed(SHARES[0], SHARES[0]))
    assert error
    assert (error.code, error.hint) == ("recovery-shares", "give 2 others")


def test_shares_of_different_sets_are_told_apart() -> None:
    assert (
        message(SHARES[0], shares_of_key(KEY, THREE_OF_FIVE)[1], SHARES[2]) == "share 2 is of another set than share 1"
    )
    other = changed(SHARES[1], member_threshold=2)
    assert message(SHARES[0], SHARES[2], other) == "share 3 is of another set than share 1"
    assert message(SHARES[2], SHARES[0], changed(SHARES[0], value=bytes(32))).startswith("share 3 is of another set")


def test_shares_of_sets_that_begin_alike_give_no_key() -> None:
    forged = changed(SHARES[1], value=bytes(32))
    assert message(SHARES[0], forged, SHARES[2]).startswith("the shares do not belong together")


@pytest.mark.parametrize("fields", [{"iteration_exponent": 15}, {"group_count": 2}])
def test_shares_that_would_cost_minutes_or_have_groups_are_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, int]
) -> None:
    def never(_shares: list[str]) -> bytes:
        raise AssertionError

    monkeypatch.setattr("holdfast.repository.recovery_shares.combine_mnemonics", never)
    assert "of a kind that Holdfast does not make" in message(*(changed(share, **fields) for share in SHARES[:3]))


@pytest.mark.parametrize(
    "secret",
    [
        b"",
        b"correct horse",
        KEY.encode(),
        KEY.encode() + b" " + KEY.encode(),
        " ".join(SHARES[0].split()[:28]).encode(),
        b"not one word of this text is in any list " * 4,
        bytes(range(256)) * 4,
        typed(*SHARES) + b" " * 8192,
    ],
)
def test_what_is_not_meant_as_shares_is_left_alone(secret: bytes) -> None:
    assert key_of_shares(secret) is None
    assert shares_error(secret) is None


def test_the_largest_set_is_read() -> None:
    shares = shares_of_key(KEY, Division(needed=16, count=16))
    assert key_of_shares("\n\n  ".join(shares).encode()) == KEY.encode()
    assert message(*shares[:15]).startswith("1 more share is")
