"""What is left of pieces, however many bytes of them were taken."""

from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.pieces import behind


@given(st.lists(st.binary(max_size=4)), st.integers(0, 40))
def test_what_is_left_is_what_lies_behind_the_bytes_taken(parts: list[bytes], taken: int) -> None:
    rest = behind([memoryview(part) for part in parts], taken)
    assert b"".join(rest) == b"".join(parts)[taken:]
    assert not rest or len(rest[0]) > 0
