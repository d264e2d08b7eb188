"""The cut: the rule, block by block, and that cutting an edit anew gives what cutting the whole would."""

from collections.abc import Sequence

import numpy as np
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.repository.config import Cut
from holdfast.repository.cut import Cutter, Piece, Words

KEY = bytes(range(32))
BLOCK = 64  # words enough for a fingerprint, small enough for thousands of examples
MODULUS = 1 << 64

small_cuts = st.builds(
    lambda minimum, more, bits, blocks: Cut(
        block_bytes=BLOCK,
        region_bytes=BLOCK * blocks,
        minimum_blocks=minimum,
        maximum_blocks=minimum + more,
        boundary_bits=bits,
    ),
    st.integers(1, 6),
    st.integers(0, 8),
    st.integers(1, 3),
    st.integers(1, 48),
)


def candidates(cut: Cut, block: bytes) -> bool:
    """A transcription of docs/format.md, Cutting, in plain integers."""
    words = cut.block_bytes // 8
    stream = blake3(b"holdfast cut 1", key=KEY).digest(length=8 * (words + 2))
    x = [int.from_bytes(stream[8 * i : 8 * i + 8], "little") for i in range(words + 2)]
    w = [int.from_bytes(block[8 * i : 8 * i + 8], "little") for i in range(words)]
    f = sum(word * (odd | 1) for word, odd in zip(w, x[:words], strict=True)) % MODULUS
    return ((f ^ x[words]) * (x[words + 1] | 1)) % MODULUS >> (64 - cut.boundary_bits) == 0


def transcribed(cut: Cut, region: bytes) -> list[Piece]:
    """The rule, one block after the other."""
    blocks = [region[at : at + cut.block_bytes] for at in range(0, len(region), cut.block_bytes)]
    zero = [not any(block) for block in blocks]
    pieces = []
    begin: int | None = None
    for b, block in enumerate(blocks):
        if begin is None and not zero[b]:
            begin = b
        if begin is None:
            continue
        length = b - begin + 1
        if (
            length == cut.maximum_blocks
            or (length >= cut.minimum_blocks and candidates(cut, block))
            or b + 1 == len(blocks)
            or zero[b + 1]
        ):
            pieces.append(Piece(begin, length))
            begin = None
    return pieces


def block_of(kind: int) -> bytes:
    """Kind 0 is zeros; the others are some block each, of which a good part are candidates."""
    return bytes(BLOCK) if kind == 0 else blake3(kind.to_bytes(4, "little")).digest(length=BLOCK)


def region_of(kinds: Sequence[int]) -> bytearray:
    return bytearray(b"".join(map(block_of, kinds)))


kinds = st.integers(0, 40).map(lambda kind: kind if kind < 30 else 0)


@st.composite
def edited_regions(draw: st.DrawFn) -> tuple[Cut, bytes, bytes, list[tuple[int, int]]]:
    """(cut, the region before, after, block ranges that may differ, some of which do not)."""
    cut = draw(small_cuts)
    blocks = cut.region_bytes // cut.block_bytes
    old_blocks = draw(st.integers(0, blocks)) if draw(st.booleans()) else blocks  # less: the disk has grown
    before = draw(st.lists(kinds, min_size=old_blocks, max_size=old_blocks))
    after = before + [0] * (blocks - old_blocks)
    touched = {*range(old_blocks, blocks)}
    for _ in range(draw(st.integers(0, 5))):
        begin = draw(st.integers(0, blocks - 1))
        end = draw(st.integers(begin + 1, min(blocks, begin + 12)))
        fill = draw(st.sampled_from(["zeros", "other", "same", "one"]))
        for at in range(begin, end):
            if fill == "zeros":
                after[at] = 0
            elif fill == "other":
                after[at] = draw(kinds)
            elif fill == "one":
                after[at] = 1
        touched.update(range(begin, end))
    ranges: list[tuple[int, int]] = []
    for at in sorted(touched):
        if ranges and ranges[-1][1] == at:
            ranges[-1] = (ranges[-1][0], at + 1)
        else:
            ranges.append((at, at + 1))
    return cut, bytes(region_of(before)), bytes(region_of(after)), ranges


def named(cut: Cut, pieces: Sequence[Piece], region: bytes) -> list[Piece]:
    size = cut.block_bytes
    return [piece._replace(id=blake3(region[piece.start * size : piece.end * size]).digest()) for piece in pieces]


def words_of(cutter: Cutter, region: bytes | bytearray) -> Words:
    return cutter.words(memoryview(bytearray(region)))


@given(small_cuts, st.lists(kinds, min_size=1, max_size=48))
@settings(max_examples=300, deadline=None)
def test_the_cut_is_the_rule_of_the_format_block_by_block(cut: Cut, content: list[int]) -> None:
    cutter = Cutter(KEY, cut)
    region = bytes(region_of(content))
    assert cutter.cut(words_of(cutter, region)) == transcribed(cut, region)


@given(edited_regions())
@settings(max_examples=1500, deadline=None)
def test_cutting_an_edit_anew_equals_cutting_the_whole(case: tuple[Cut, bytes, bytes, list[tuple[int, int]]]) -> None:
    cut, before, after, ranges = case
    cutter = Cutter(KEY, cut)
    old = named(cut, cutter.cut(words_of(cutter, before)), before)
    # What is not loaded is poison: looking at it would give a wrong cut.
    words = words_of(cutter, blake3(b"poison").digest(length=len(after)))
    source = words_of(cutter, after)
    loaded: set[int] = set()

    def load(begin: int, end: int) -> None:
        assert 0 <= begin <= end <= len(source)
        words[begin:end] = source[begin:end]
        loaded.update(range(begin, end))

    pieces = cutter.recut(old, ranges, words, load)

    assert [piece._replace(id=b"") for piece in pieces] == transcribed(cut, after)
    assert named(cut, pieces, after) == [piece if piece.id else named(cut, [piece], after)[0] for piece in pieces], (
        "a piece kept its id although its bytes changed"
    )
    for piece in pieces:
        if not piece.id:
            assert loaded.issuperset(range(piece.start, piece.end)), "a new piece of blocks that were never read"
    far = [piece for piece in old if all(piece.end < begin or piece.start > end for begin, end in ranges)]
    untouched = [piece for piece in far if not loaded.intersection(range(piece.start, piece.end))]
    assert set(untouched) <= set(pieces), "a piece that no edit reaches lost its id"


@given(st.lists(st.tuples(st.integers(0, 1023), st.integers(1, 40), st.integers(0, 3)), max_size=4), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_with_the_real_parameters_too(edits: list[tuple[int, int, int]], seed: int) -> None:
    cut = Cut()
    cutter = Cutter(KEY, cut)
    before = bytearray(np.random.default_rng(seed).bytes(cut.region_bytes))
    before[300 * 4096 : 420 * 4096] = bytes(120 * 4096)
    after = bytearray(before)
    for begin, blocks, kind in edits:
        end = min(1024, begin + blocks)
        filling = (
            np.random.default_rng([kind, begin]).bytes((end - begin) * 4096) if kind else bytes((end - begin) * 4096)
        )
        after[begin * 4096 : end * 4096] = filling
    ranges = joined([(begin, min(1024, begin + blocks)) for begin, blocks, _ in edits])
    source = words_of(cutter, after)
    words = words_of(cutter, bytes(len(after)))
    read = 0

    def load(begin: int, end: int) -> None:
        nonlocal read
        read += end - begin
        words[begin:end] = source[begin:end]

    old = named(cut, cutter.cut(words_of(cutter, before)), bytes(before))
    pieces = cutter.recut(old, ranges, words, load)
    whole = cutter.cut(source)
    assert [piece._replace(id=b"") for piece in pieces] == whole == quickly_transcribed(cut, cutter, after)
    edited = sum(end - begin for begin, end in ranges)
    assert read <= edited + 64 * (8 * len(ranges) + 1), "an edit was followed further than new boundaries need"
    for at, piece in enumerate(whole):
        followed = at + 1 < len(whole) and whole[at + 1].start == piece.end
        assert piece.blocks <= cut.maximum_blocks
        assert piece.blocks >= cut.minimum_blocks or not followed, "shorter than the minimum before data"


def quickly_transcribed(cut: Cut, cutter: Cutter, region: bytearray) -> list[Piece]:
    """The transcription, with each block's fingerprint judged by the cutter alone (judged in plain integers above)."""
    size = cut.block_bytes
    ends, begin = [], None
    blocks = [bytes(region[at : at + size]) for at in range(0, len(region), size)]
    one = Piece(0, cut.minimum_blocks)
    for b, block in enumerate(blocks):
        if begin is None and any(block):
            begin = b
        if begin is None:
            continue
        length = b - begin + 1
        last = b + 1 == len(blocks) or not any(blocks[b + 1])
        if length == cut.maximum_blocks or last:
            ends.append(Piece(begin, length))
            begin = None
        elif length >= cut.minimum_blocks:
            padded = words_of(cutter, bytes(size * (cut.minimum_blocks - 1)) + block)
            if cutter.ends_by_itself(one, padded):
                ends.append(Piece(begin, length))
                begin = None
    return ends


def joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    blocks = sorted({at for begin, end in ranges for at in range(begin, end)})
    starts = [at for at in blocks if at - 1 not in set(blocks)]
    ends = [at + 1 for at in blocks if at + 1 not in set(blocks)]
    return list(zip(starts, ends, strict=True))


def test_a_block_that_is_not_zero_but_whose_fingerprint_is_counts_as_data() -> None:
    cut = Cut(block_bytes=BLOCK, region_bytes=BLOCK * 3)
    cutter = Cutter(KEY, cut)
    stream = blake3(b"holdfast cut 1", key=KEY).digest(length=16)
    first, second = (int.from_bytes(stream[at : at + 8], "little") | 1 for at in (0, 8))
    words = np.zeros((3, BLOCK // 8), np.uint64)
    words[1, 0] = second
    words[1, 1] = MODULUS - first  # second * first - first * second = 0
    assert cutter.cut(words) == [Piece(1, 1)]
