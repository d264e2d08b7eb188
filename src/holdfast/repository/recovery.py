"""Recovery keys: 256 random bits as 24 words that can be written down, read out and typed.

BIP-39 with its English list: the first four letters of a word tell it from all others, and the last word carries a
checksum of 8 bits. As a secret of a slot, a recovery key is its words in lower case with one blank between them.
"""

import secrets
from functools import cache
from typing import Final

from mnemonic import Mnemonic

from holdfast.repository.word_list import WordList

WORDS: Final = 24
_NEARLY: Final = range(20, 29)
"""As many words, most of them from the list, were meant as a recovery key."""
_MOST_BYTES: Final = 1000


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
    words = _words_of(secret)
    try:
        _list().to_entropy(words)
    except (LookupError, ValueError):
        return None
    return " ".join(words).encode() if len(words) == WORDS else None


def typing_error(secret: bytes) -> str | None:
    """What is wrong with a secret that was meant as a recovery key and is none; None if it was not meant as one."""
    words = _words_of(secret)
    if len(words) not in _NEARLY or not _word_list().is_meant(words):
        return None
    if unknown := _word_list().unknown(words):
        place, meant = words.index(unknown[0]) + 1, _word_list().correction(unknown[0])
        return f"word {place} of the recovery key, {unknown[0]!r}, is not in the list of words{meant}"
    if len(words) != WORDS:
        return f"a recovery key has {WORDS} words, and these are {len(words)}"
    if as_recovery_key(secret) is None:
        return "the checksum of the recovery key does not fit: a word is not the right one, or two are swapped"
    return None


def _words_of(secret: bytes) -> list[str]:
    """In lower case and whole; what is no text, or far too long to be meant, is no words."""
    typed = secret.decode(errors="replace").lower().split() if len(secret) < _MOST_BYTES else []
    return [_word_list().completed(word) for word in typed if not word.isdecimal()]  # they are shown with numbers


@cache
def _word_list() -> WordList:
    return WordList(_list().wordlist)


@cache
def _list() -> Mnemonic:
    return Mnemonic("english")
