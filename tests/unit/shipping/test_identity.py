from __future__ import annotations

from hashlib import sha256
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from auditwire.shipping import Chain, derived_id

LINES = st.lists(st.binary(min_size=1, max_size=20), max_size=20)


def ids(lines: list[bytes], chain: Chain | None = None) -> list[str]:
    chain = chain or Chain()
    return [derived_id(chain.advance(line)) for line in lines]


def test_the_ids_of_a_log_never_change_from_one_release_to_the_next() -> None:
    """Computed here by hand, as the module's table says: whoever ships a log again relies on it."""
    first = sha256(sha256(b"auditwire.ship/1").digest() + b"one").digest()
    expected = bytearray(first[:16])
    expected[6] = expected[6] & 0x0F | 0x80
    expected[8] = expected[8] & 0x3F | 0x80
    assert ids([b"one"]) == [str(UUID(bytes=bytes(expected)))]
    assert ids([b"one", b"two"]) == [
        "55ca966c-9db2-82d4-b763-8ecac75567af",
        "635d6506-4da3-82e2-ad48-fb44d5787b01",
    ]


@given(lines=LINES)
def test_each_is_a_uuid_of_version_8(lines: list[bytes]) -> None:
    for text in ids(lines):
        value = UUID(text)
        assert (str(value), value.version, value.variant) == (text, 8, "specified in RFC 4122")


@given(lines=LINES)
def test_lines_that_are_equal_have_ids_of_their_own(lines: list[bytes]) -> None:
    both = ids([*lines, *lines])
    assert len(set(both)) == len(both)


@given(lines=LINES, more=LINES)
def test_what_is_appended_changes_no_id(lines: list[bytes], more: list[bytes]) -> None:
    assert ids([*lines, *more])[: len(lines)] == ids(lines)


@given(lines=LINES, more=LINES)
def test_thirty_two_bytes_are_enough_to_go_on(lines: list[bytes], more: list[bytes]) -> None:
    chain = Chain()
    ids(lines, chain)
    assert len(chain.value) == 32
    assert ids(more, Chain(chain.value)) == ids([*lines, *more])[len(lines) :]


@given(before=LINES, line=st.binary(min_size=1, max_size=20), other=st.binary(min_size=1, max_size=20))
def test_another_line_before_is_another_log(before: list[bytes], line: bytes, other: bytes) -> None:
    one, two = ids([*before, line, b"last"])[-1], ids([*before, other, b"last"])[-1]
    assert (one == two) == (line == other)
