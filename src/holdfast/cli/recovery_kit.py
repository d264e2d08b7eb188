"""The emergency kit: one page to print, with all that is needed to restore when everything else is gone."""

import base64
import textwrap

from holdfast.cli.output import local_text
from holdfast.repository import Repository, SlotRecord, slot_names

_WORDS_A_ROW = 6

_PAGE = """\
HOLDFAST EMERGENCY KIT                              keep it on paper, apart from the repository

Whoever has this page and the repository can read every machine that is stored in it.

  Repository  {url}
  Id          {id}
  Made        {created_at}
  Key         {number} ({label}), made {made_at}

RECOVERY KEY: 24 words, in this order

{words}

The first four letters of each word are enough. A typing error is found and said.

TO RESTORE on any computer with Linux:

  1. Install holdfast, and make the repository or a copy of it readable there.
  2. export HOLDFAST_REPOSITORY={url}        (where it is now)
  3. holdfast point list                     (asks for the passphrase: type the words)
  4. holdfast restore disk MACHINE@latest --disk DISK --output disk.raw

IF THE FOLDER keys/ OF THE REPOSITORY IS LOST, make it anew and put this key's slot back before
step 3; only the words open it. Type or scan the lines at the end into the file slot.txt, then:

     base64 -d slot.txt > slot; cat slot slot > REPOSITORY/{object}

{slot}
"""


def kit_page(repository: Repository, slot: SlotRecord, words: str) -> str:
    """The page for one recovery key."""
    return _PAGE.format(
        url=repository.storage.url,
        id=repository.id,
        created_at=local_text(repository.config.created_at),
        number=slot.number,
        label=slot.label,
        made_at=local_text(slot.created_at),
        words="\n".join(in_rows(words)),
        object=slot_names(slot.number)[0],
        slot="\n".join(textwrap.wrap(base64.b64encode(repository.keyring.read(slot.number)).decode(), 88)),
    )


def in_rows(words: str) -> list[str]:
    """Words with their numbers, six to a row."""
    numbered = [f"{number:2} {word:9}" for number, word in enumerate(words.split(), 1)]
    return [
        "  " + " ".join(numbered[start : start + _WORDS_A_ROW]).rstrip()
        for start in range(0, len(numbered), _WORDS_A_ROW)
    ]
