"""Every way to fail is documented, and nothing else."""

import signal

from holdfast.core import errors
from holdfast.core.errors import HoldfastError
from tests.docs.pages import DOCS, table_with, text_of

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HoldfastError)]


def test_the_table_of_errors_is_the_tree_of_classes() -> None:
    rows = {
        (row[0].strip("`"), int(row[1]), row[2].strip("`")) for row in table_with(DOCS / "errors.md", "kind", "exit")
    }
    assert rows == {(kind.kind, kind.exit_status, kind.__name__) for kind in TREE if kind is not HoldfastError}
    assert {"usage", "damaged", "failed"} < {kind for kind, _, _ in rows}


def test_every_exit_status_is_on_the_page_of_commands() -> None:
    shown = {int(number) for row in table_with(DOCS / "commands.md", "exit") for number in row[0].split(",")}
    assert {kind.exit_status for kind in TREE} <= shown
    assert {0, 3, 8, 128 + signal.SIGINT, 128 + signal.SIGTERM} <= shown


def test_every_exit_status_is_on_the_page_of_errors() -> None:
    text = text_of(DOCS / "errors.md")
    for status in (0, 3, 8, 128 + signal.SIGINT, 128 + signal.SIGTERM):
        assert f" {status} " in text
