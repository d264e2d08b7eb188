"""Recovery keys: 256 random bits as 24 words that can be written down, read out and typed.

BIP-39 with its English list: the first four letters of a word tell it from all others, and the last word carries a
checksum of 8 bits. As a secret of a slot, a recovery key is its words in lower case with one blank between them.
"""

import difflib
import secrets
from functools import cache
from typing import Final

from mnemonic import Mnemonic

WORDS: Final = 24
_NEARLY: Final = range(20, 29)
"""As many words, most of them from the list, were meant as a recovery key."""
_TOLD_APART: Final = 4


def new_recovery_key() -> str:
    """24 words that nobody has seen before."""
    return key_of_entropy(secrets.token_bytes(32))


def key_of_entropy(entropy: bytes) -> str:
    """The words that say these 32 bytes."""
    return _list().to_mnemonic(entropy)


def entropy_of_key(key: str) -> bytes:
    """The 32 bytes that a recovery key's words say."""
    return bytes(_list().to_entropy(key))


def as_recovery_key(secret: bytes) -> bytes | None:
    """The recovery key that a secret is, however it is typed; None if it is none."""
    words = [_completed(word) for word in _words_of(secret)]
    try:
        _list().to_entropy(words)
    except (LookupError, ValueError):
        return None
    return " ".join(words).encode() if len(words) == WORDS else None


def typing_error(secret: bytes) -> str | None:
    """What is wrong with a secret that was meant as a recovery key and is none; None if it was not meant as one."""
    words = [_completed(word) for word in _words_of(secret)]
    unknown = [word for word in words if word not in _list().wordlist]
    if len(words) not in _NEARLY or 2 * len(unknown) > len(words):
        return None
    if unknown:
        place = words.index(unknown[0]) + 1
        like = difflib.get_close_matches(unknown[0], _list().wordlist, 1)
        meant = f"; {like[0]!r} is" if like else ""
        return f"word {place} of the recovery key, {unknown[0]!r}, is not in the list of words{meant}"
    if len(words) != WORDS:
        return f"a recovery key has {WORDS} words, and these are {len(words)}"
    if as_recovery_key(secret) is None:
        return "the checksum of the recovery key does not fit: a word is not the right one, or two are swapped"
    return None


def _words_of(secret: bytes) -> list[str]:
    """In lower case; what is no text, or far too long to be meant, is no words."""
    return secret.decode(errors="replace").lower().split() if len(secret) < 1000 else []


def _completed(word: str) -> str:
    """The word of the list that this is, or the beginning of."""
    return _list().expand_word(word) if len(word) >= _TOLD_APART else word


@cache
def _list() -> Mnemonic:
    return Mnemonic("english")
