from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.events import CheckpointEvent
from auditwire.stream import entries_of, pack_entry
from auditwire.verification.blocks import BLOCK, Block, blocks_of, read_entries
from auditwire.verification.layout import Kind, code_of_type

TYPES = ["turn_start:0000000000000001", "turn_end:0000000000000002"]
entries = st.lists(
    st.tuples(st.integers(0, 1), st.binary(min_size=32, max_size=32)).map(lambda pair: pack_entry(*pair))
    | st.sampled_from(["", "A" * 43 + "+", "A" * 43 + "ä", pack_entry(7, bytes(32)), "A" * 45]),
    max_size=8,
)


def listing(texts: list[str], first: int = 0, types: list[str] | None = None) -> CheckpointEvent:
    return CheckpointEvent(first_sequence=first, entries=texts, types=TYPES if types is None else types)


@given(entries)
def test_entries_are_read_as_far_as_the_reference_reads_them(texts: list[str]) -> None:
    found = read_entries(listing(texts))
    one_by_one, error = [], None
    try:
        for _, type_key, digest in entries_of(listing(texts)):
            one_by_one.append(bytes((TYPES.index(type_key),)) + digest)
    except ValueError as wrong:
        error = str(wrong)
    assert (found.raw, found.error) == (b"".join(one_by_one), error)
    assert len(found) == len(one_by_one)


def test_a_listing_without_types_has_no_entry_that_can_be_read() -> None:
    found = read_entries(listing([pack_entry(0, bytes(32))], types=[]))
    assert (len(found), found.error) == (0, "the entry of sequence 0 points to type 0 of 0")


def blocks(count: int, first: int, below: int = 2**62, kind: Kind = Kind.LISTED) -> list[Block]:
    found = read_entries(listing([pack_entry(n % 2, n.to_bytes(32, "big")) for n in range(count)]))
    claims = blocks_of(kind, found, TYPES, first, below, ["by"])
    return [Block(int.from_bytes(claim[1:9], "big"), kind, claim) for claim in claims]


@settings(max_examples=60)
@given(st.integers(0, 3_000), st.integers(-1_500, 5_000), st.integers(0, 8_000))
def test_blocks_list_what_the_entries_list_and_are_cut_at_the_same_places(
    count: int, first: int, below: int
) -> None:
    listed = {}
    for block in blocks(count, first, below):
        assert block.first % BLOCK == 0 or block.first == max(first, 0)
        assert block.first // BLOCK == (block.end - 1) // BLOCK
        assert block.by == ["by"]
        for sequence in range(block.first, block.end):
            listed[sequence] = block.identity(sequence)
    expected = {
        first + n: n.to_bytes(32, "big") + code_of_type(TYPES[n % 2])
        for n in range(count)
        if 0 <= first + n < below
    }
    assert listed == expected


def test_a_block_can_be_cut_and_says_the_same_of_what_is_left() -> None:
    (block,) = blocks(10, 5)
    claim = block.cut(7, 9)
    part = Block(7, Kind.LISTED, claim)
    assert (part.first, part.end, part.by) == (7, 9, ["by"])
    assert part.identities == block.identities_in(7, 9)
    assert part.type_key(part.identity(7)) == TYPES[0]


def test_two_blocks_say_the_same_when_they_list_the_same_of_the_same_whoever_says_it() -> None:
    (one,), (two,) = blocks(3, 5), blocks(3, 5)
    two.by = ["other"]
    assert one.says_the_same(two)
    for other in (blocks(3, 6)[0], blocks(4, 5)[0], blocks(3, 5, kind=Kind.STATED)[0]):
        assert not one.says_the_same(other)


def test_of_a_type_that_nobody_knows_the_beginning_is_shown() -> None:
    found = read_entries(listing([pack_entry(0, bytes(32))], types=["x" * 1_000]))
    (claim,) = blocks_of(Kind.LISTED, found, ["x" * 1_000], 0, 9, [])
    block = Block(0, Kind.LISTED, claim)
    assert block.type_key(block.identity(0)) == "x" * 200
    assert block.identity(0)[32:] == code_of_type("x" * 1_000)


@pytest.mark.parametrize("kind", [Kind.LISTED, Kind.STATED])
def test_a_listing_of_nothing_makes_no_block(kind: Kind) -> None:
    assert blocks(0, 5, kind=kind) == []
