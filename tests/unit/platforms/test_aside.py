"""An image that is overwritten has another name from before the first byte until after the last."""

from pathlib import Path

import pytest

from holdfast.core.errors import RefusedError
from holdfast.platforms.files.aside import SetAside, set_aside_name, whereabouts


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "one.qcow2", tmp_path / "two.qcow2"]
    for path in paths:
        path.write_text(path.name)
    return paths


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_images_have_another_name_meanwhile_and_their_own_afterwards(images: list[Path], tmp_path: Path) -> None:
    with SetAside(images) as aside:
        assert names(tmp_path) == ["one.qcow2.restoring", "two.qcow2.restoring"]
        assert [whereabouts(path) for path in images] == [set_aside_name(path) for path in images]
        aside.begin_to_write()
        aside.give_back()
        assert names(tmp_path) == ["one.qcow2", "two.qcow2"]
    assert [path.read_text() for path in images] == names(tmp_path)


def test_what_was_not_written_gets_its_name_back(images: list[Path], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), SetAside(images):
        raise KeyboardInterrupt
    assert names(tmp_path) == ["one.qcow2", "two.qcow2"]


def test_what_is_half_written_stays_aside_until_somebody_makes_it_whole(images: list[Path], tmp_path: Path) -> None:
    with SetAside(images) as aside:
        aside.begin_to_write()
    assert names(tmp_path) == ["one.qcow2.restoring", "two.qcow2.restoring"]
    with SetAside(images):  # comes, sees that, and gives up
        pass
    assert names(tmp_path) == ["one.qcow2.restoring", "two.qcow2.restoring"]
    set_aside_name(images[0]).rename(images[0])  # as after a crash between the two names
    with SetAside(images) as aside:
        assert aside.is_half_written
        aside.give_back()
    assert names(tmp_path) == ["one.qcow2", "two.qcow2"]


def test_nothing_is_renamed_over_anything(images: list[Path], tmp_path: Path) -> None:
    set_aside_name(images[1]).write_text("precious")
    with pytest.raises(RefusedError, match="both exist"), SetAside(images):
        pass
    assert set_aside_name(images[1]).read_text() == "precious"
    assert images[0].read_text() == "one.qcow2"
    set_aside_name(images[1]).unlink()
    with SetAside(images) as aside:
        aside.begin_to_write()
        images[0].write_text("appeared meanwhile")
        with pytest.raises(RefusedError, match="both exist"):
            aside.give_back()
    assert images[0].read_text() == "appeared meanwhile"
    assert set_aside_name(images[0]).read_text() == "one.qcow2"
