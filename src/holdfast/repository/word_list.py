"""Words that people write down and type, of a list in which the first four letters tell each from all others."""

import difflib
from collections.abc import Sequence
from typing import Final

_TOLD_APART: Final = 4


class WordList:
    """A list of such words, as BIP-39 and SLIP-39 have them."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = frozenset(words)
        self._by_beginning = {word[:_TOLD_APART]: word for word in words}

    def completed(self, typed: str) -> str:
        """The word of the list that this is, or at least four letters of; what is neither stays as it is."""
        whole = self._by_beginning.get(typed[:_TOLD_APART], typed)
        return whole if len(typed) >= _TOLD_APART and whole.startswith(typed) else typed

    def unknown(self, words: Sequence[str]) -> list[str]:
        """Those that are not in the list, in their order."""
        return [word for word in words if word not in self._words]

    def is_meant(self, words: Sequence[str]) -> bool:
        """Whether at least half of them are in the list: nobody types so many by chance."""
        return 2 * len(self.unknown(words)) <= len(words)

    def correction(self, word: str) -> str:
        """What to say behind a word that is not in the list: the word that is most like it, if any is."""
        like = difflib.get_close_matches(word, self._words, 1)
        return f"; {like[0]!r} is" if like else ""
