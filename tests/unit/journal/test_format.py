from __future__ import annotations

import errno
import json
import random
import struct
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_files import INFO, PRINT, STREAM, TRACE, BadBlock, BadDisk, create, draft

from auditwire.errors import EncodingError
from auditwire.journal import format as module
from auditwire.journal.base import Draft, Record
from auditwire.journal.filesystem import REAL
from auditwire.journal.format import LEAST, MAX_SEQUENCE, SEALED, pack, payload_size_limit, read_around
from auditwire.journal.segment import Segment
from auditwire.wire import join_body
from support.simulated_fs import SimulatedFileSystem

if TYPE_CHECKING:
    from pathlib import Path

# -- the bytes --------------------------------------------------------------------------------------------


def test_the_header_is_what_the_table_says(tmp_path: Path) -> None:
    segment = create(REAL, tmp_path, created_us=-5, salt=0x01020304)
    segment.close()
    raw = (tmp_path / "00000003.seg").read_bytes()
    text = json.dumps(INFO, sort_keys=True).encode()
    assert len(raw) == 64 << 10
    assert raw[:8] == b"AWJSEG\r\n"
    assert raw[8:12] == bytes([1, 0, 0, 0])
    assert raw[12:16] == bytes([3, 0, 0, 0])
    assert raw[16:32] == UUID(STREAM).bytes
    assert raw[32:40] == struct.pack("<Q", 10)
    assert raw[40:48] == struct.pack("<q", -5)
    assert raw[48:52] == bytes([4, 3, 2, 1])
    assert raw[52:60] == struct.pack("<II", len(text), 0)
    assert raw[60:64] == struct.pack("<I", crc32(raw[:60] + text))
    assert raw[64 : 64 + len(text)] == text
    assert not any(raw[64 + len(text) :])
    assert segment.start == 64 + len(text) + -len(text) % 8


def test_a_record_is_what_the_table_says(tmp_path: Path) -> None:
    segment = create(REAL, tmp_path, salt=0xDEADBEEF)
    event = draft("é-1", b"tail", trace=TRACE, timestamp_us=-2)
    after = segment.store(segment.start, pack(event, 300, PRINT))
    segment.seal(after)
    segment.close()
    raw = (tmp_path / "00000003.seg").read_bytes()[segment.start :]
    body = b"h" + b"\xd8\x04" + b"tail"
    kind = PRINT + b"\x0aturn_start" + b"audit.turn-start"
    length = 28 + len(kind) + 3 + 4 + 55 + len(body)
    assert raw[:4] == struct.pack("<I", length)
    assert raw[4:8] == struct.pack("<I", crc32(raw[8 : 8 + length], 0xDEADBEEF))
    assert raw[8:24] == struct.pack("<Qq", 300, -2)
    assert raw[24:32] == struct.pack("<HHHBB", len(kind), 3, 4, 55, 0)
    assert raw[32:36] == struct.pack("<I", len(body))
    assert raw[36 : 8 + length] == kind + b"s-1" + "é-1".encode() + TRACE + body
    assert after - segment.start == 8 + length + -length % 8
    assert raw[after - segment.start :][:8] == b"\xff" * 8
    assert int.from_bytes(b"\xff" * 8, "little") == SEALED


def test_the_smallest_record_has_the_least_bytes() -> None:
    smallest = Draft("", "", b"", 0, "", None, b"", b"")
    assert len(pack(smallest, 0, PRINT)) == LEAST + 1  # the sequence takes one byte of the body


# -- what does not fit ------------------------------------------------------------------------------------


def test_an_event_type_of_256_bytes_is_refused() -> None:
    with pytest.raises(EncodingError, match="255"):
        pack(draft(event_type="é" * 128), 0, PRINT)


def test_a_fingerprint_has_8_bytes() -> None:
    with pytest.raises(EncodingError, match="fingerprint"):
        pack(draft(), 0, b"1234567")


@pytest.mark.parametrize(
    "other", [{"key": b"k" * 65536}, {"event_id": "i" * 65536}, {"timestamp_us": 1 << 63}]
)
def test_a_part_that_is_too_long_for_its_field_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(EncodingError, match=r"turn_start .* does not fit"):
        pack(draft(**other), 0, PRINT)


def test_a_trace_of_another_length_is_refused() -> None:
    with pytest.raises(EncodingError, match="traceparent"):
        pack(draft(trace=TRACE[:-1]), 0, PRINT)


def test_a_lone_surrogate_is_stored_as_the_headers_would_have_it(tmp_path: Path) -> None:
    segment = create(REAL, tmp_path)
    segment.store(segment.start, pack(draft("e-\ud800"), 10, PRINT))
    assert segment.load(segment.start, verify=True)[0].event_id == "e-\ufffd"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(
    event_type=texts,
    topic=texts,
    key=st.binary(max_size=90),
    event_id=texts,
    timestamp_us=st.integers(-(1 << 63), (1 << 63) - 1),
    trace=st.sampled_from([None, TRACE]),
    head=st.binary(max_size=90),
    tail=st.binary(max_size=90),
    sequence=st.integers(0, MAX_SEQUENCE),
    print_=st.binary(min_size=8, max_size=8),
)
def test_any_draft_reads_back_and_is_no_larger_than_was_said(
    tmp_path_factory: pytest.TempPathFactory, sequence: int, print_: bytes, **parts: Any
) -> None:
    event = Draft(**parts)
    path = str(tmp_path_factory.mktemp("any") / "s")
    segment = Segment.create(
        REAL, path, stream_id=STREAM, number=0, first_sequence=sequence, info={}, size=4096
    )
    payload = pack(event, sequence, print_)
    after = segment.store(segment.start, payload)
    assert after - segment.start <= payload_size_limit(event)
    record, _ = segment.load(segment.start, verify=True)
    segment.close()
    assert record == Record(
        sequence,
        event.event_type,
        event.topic,
        event.key,
        event.timestamp_us,
        event.event_id,
        event.trace,
        join_body(event.head, sequence, event.tail),
        after - segment.start,
        print_,
        segment.start,
    )


def test_kinds_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_KINDS", 4)
    module._packed_kinds.clear()
    module.read_kinds.clear()
    segment = create(REAL, tmp_path)
    offset = segment.start
    for n in range(20):
        offset = segment.store(offset, pack(draft(topic=f"t-{n}"), 10 + n, PRINT))
        assert len(module._packed_kinds) <= 4
    records, _ = segment.take(segment.start, 10, 99, verify=True)
    assert [r.topic for r in records] == [f"t-{n}" for n in range(20)]
    assert len(module.read_kinds) <= 4
    segment.store(segment.start, pack(draft(topic="t" * 2000), 10, PRINT))
    assert segment.load(segment.start, verify=True)[0].topic == "t" * 2000
    assert not any(len(raw) > 2000 for raw in module.read_kinds)


# -- reading around ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, 20_000), (0, 100_000), (5_000, 4_000), (8_000, 300), (9_000, 10), (12_200, 200), (11_000, 9_000)],
)
def test_a_block_that_cannot_be_read_is_zeros_and_the_others_are_whole(
    tmp_path: Path, offset: int, count: int
) -> None:
    raw = random.Random(1).randbytes(18_000)
    path = tmp_path / BadBlock.suffix
    path.write_bytes(raw)
    expected = raw[: BadBlock.bad] + bytes(4096) + raw[BadBlock.bad + 4096 :]
    file = BadDisk().open(str(path), writable=False)
    assert read_around(file, offset, count) == expected[offset : offset + count]
    file.close()


def test_any_other_error_of_a_read_is_told() -> None:
    fs = SimulatedFileSystem()
    file = fs.open("/file", create=True)
    fs.fail("read", errno.EACCES, "/file")
    with pytest.raises(PermissionError):
        read_around(file, 0, 100)
