"""A recovery key in shares: any K of N open the repository, and fewer are of no use.

SLIP-39 by its reference implementation, one group. What is divided (by Shamir's scheme, in GF(256)) is the key's 256
bits: shares that are put together give its words again, so no slot knows of them. A share has 33 words of SLIP-39's
own list, 1024 words that their first four letters tell apart; the last three are a checksum that finds up to three
wrong words. The first two are the same in all shares of a set. The scheme divides 32 bits of a checksum of the key too:
who has K-1 shares could rule keys out by it, and 2^224 are left.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from shamir_mnemonic import MnemonicError, Share, combine_mnemonics, generate_mnemonics
from shamir_mnemonic.wordlist import WORDLIST

from holdfast.core.errors import DeniedError, FailedError, UsageError
from holdfast.repository.recovery import entropy_of_key, key_of_entropy
from holdfast.repository.word_list import WordList

MOST_SHARES: Final = 16
_WORDS: Final = 33
_NEARLY: Final = range(29, 38)
"""As many words between two slashes, or on a line, were meant as one share."""
_MOST_BYTES: Final = 8192
"""Sixteen shares take less than 5 KiB; what is longer than this is none, and not looked at."""
_EXPONENT: Final = 0
"""Of the work that SLIP-39 puts before a guess: 256 random bits need none. A hostile share could ask for minutes."""
_AS_SHOWN: Final = re.compile(
    r"\bany [0-9]+ of these [0-9]+ shares open the repository, fewer are of no use\."
    r"|\bshare [0-9]+ of [0-9]+(?:, [0-9]+ open repository [0-9a-f]+)?\b|\b[0-9]+\b"
)
"""What stands around the words where shares are shown: how many there are, which one it is of what, word numbers."""
_WORD_LIST: Final = WordList(WORDLIST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Any `needed` of `count` shares give a key back: 2 <= needed <= count <= 16. Raises UsageError."""

    needed: int
    count: int

    def __post_init__(self) -> None:
        if self.needed < 2:
            hint = "one share alone would be the key: leave --shares out for 24 words, or say 2-of-3"
            raise UsageError(f"{self.needed}-of-{self.count} divides nothing", hint=hint, code="bad-shares")
        if not self.needed <= self.count <= MOST_SHARES:
            hint = f"{MOST_SHARES} shares are the most, and not more can be needed than there are"
            raise UsageError(f"{self.needed}-of-{self.count} cannot be", hint=hint, code="bad-shares")


class TooFewSharesError(DeniedError):
    """All shares are right, and `missing` more are needed."""

    def __init__(self, needed: int, missing: int) -> None:
        are = "share is" if missing == 1 else "shares are"
        super().__init__(
            f"{missing} more {are} needed: it takes {needed} to open the repository",
            hint="give all of them at once, one after the other, on lines of their own or with / between them",
            code="too-few-shares",
        )
        self.missing = missing


def shares_of_key(key: str, division: Division) -> list[str]:
    """A recovery key in shares.

    Raises FailedError unless the first and the last that are needed give it back: nobody would find out in time.
    """
    groups = [(division.needed, division.count)]
    (shares,) = generate_mnemonics(1, groups, entropy_of_key(key), iteration_exponent=_EXPONENT)
    for chosen in (shares[: division.needed], shares[-division.needed :]):
        if key_of_shares("/".join(chosen).encode()) != key.encode():
            raise FailedError("the shares do not give the key back", hint="run again; nothing was changed")
    return list(shares)


def key_of_shares(secret: bytes) -> bytes | None:
    """The recovery key that a secret's shares give, however they are typed; None if they give none."""
    try:
        return _combined(_cut(secret))
    except DeniedError:
        return None


def shares_error(secret: bytes) -> DeniedError | None:
    """What is wrong with a secret that was meant as shares and gives no key; None if it was not meant as shares."""
    try:
        _combined(_cut(secret))
    except DeniedError as error:
        return error
    return None


def _cut(secret: bytes) -> list[list[str]]:
    """The words of each share; nothing if the secret is not meant as shares."""
    text = secret.decode(errors="replace").lower() if len(secret) <= _MOST_BYTES else ""
    text = _AS_SHOWN.sub(" ", text)
    parts = [[_WORD_LIST.completed(word) for word in part.split()] for part in _parts(text)]
    words = [word for part in parts for word in part]
    if len(words) < _NEARLY.start or not _WORD_LIST.is_meant(words):
        return []
    if len(words) % _WORDS == 0:
        return _in_shares(words)
    return [share for part in parts for share in ([part] if len(part) in _NEARLY else _in_shares(part))]


def _parts(text: str) -> list[str]:
    """What slashes divide, and lines if each is long enough to be a share. Where words are missing they tell where."""
    lines = [line for part in text.split("/") for line in part.splitlines() if line.strip()]
    return lines if all(len(line.split()) >= _NEARLY.start for line in lines) else text.split("/")


def _in_shares(words: list[str]) -> list[list[str]]:
    """A share ends with its 33rd word, whatever stands between words."""
    return [words[start : start + _WORDS] for start in range(0, len(words), _WORDS)]


def _combined(cut: list[list[str]]) -> bytes | None:
    """The recovery key; None for no shares. Raises DeniedError if the shares are wrong, do not match or are too few."""
    if not cut:
        return None
    shares = [_share(words, place) for place, words in enumerate(cut, 1)]
    _require_one_set(shares)
    needed = shares[0].member_threshold
    different = list(dict.fromkeys(shares))
    if len(different) < needed:
        _require_each_once(shares, needed - len(different))
        raise TooFewSharesError(needed, needed - len(different))
    try:
        entropy = combine_mnemonics([share.mnemonic() for share in different[:needed]])
    except MnemonicError as error:
        raise _different_sets("the shares do not belong together, although they begin alike") from error
    return key_of_entropy(entropy).encode()


def _share(words: list[str], place: int) -> Any:
    """One share. Raises DeniedError if it is not one of ours.

    What is no share may be another secret, typed by mistake: none of its words is shown.
    """
    if len(words) not in _NEARLY or not _WORD_LIST.is_meant(words):
        raise _mistyped(f"a share has {_WORDS} words, and share {place} is none")
    if unknown := _WORD_LIST.unknown(words):
        number, meant = words.index(unknown[0]) + 1, _WORD_LIST.correction(unknown[0])
        raise _mistyped(f"word {number} of share {place}, {unknown[0]!r}, is not in the list of words{meant}")
    if len(words) != _WORDS:
        raise _mistyped(f"a share has {_WORDS} words, and share {place} has {len(words)}")
    try:
        share = Share.from_mnemonic(" ".join(words))
    except MnemonicError as error:
        why = "a word is not the right one, is missing or is too many, or two are swapped"
        raise _mistyped(f"the checksum of share {place} does not fit: {why}") from error
    if share.iteration_exponent > _EXPONENT or share.group_count > 1:
        raise DeniedError(
            f"share {place} is of a kind that Holdfast does not make",
            hint="give the shares that `holdfast repository keys recovery --shares` has shown",
            code="recovery-shares",
        )
    return share


def _require_one_set(shares: list[Any]) -> None:
    for place, share in enumerate(shares, 1):
        for earlier, other in enumerate(shares[: place - 1], 1):
            alike = share.group_parameters() == other.group_parameters()
            if not alike or (share.index == other.index and share != other):
                raise _different_sets(f"share {place} is of another set than share {earlier}")


def _require_each_once(shares: list[Any], missing: int) -> None:
    for place, share in enumerate(shares, 1):
        if (earlier := shares.index(share) + 1) < place:
            another = "another one" if missing == 1 else f"{missing} others"
            raise DeniedError(
                f"share {place} is the same as share {earlier}", hint=f"give {another}", code="recovery-shares"
            )


def _different_sets(message: str) -> DeniedError:
    hint = "give shares that were made together: their first two words are the same"
    return DeniedError(message, hint=hint, code="recovery-shares")


def _mistyped(message: str) -> DeniedError:
    return DeniedError(message, hint="compare it with what was written down", code="recovery-shares")
