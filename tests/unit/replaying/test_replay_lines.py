from __future__ import annotations

import errno
import gzip
import io
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from auditwire.errors import ConfigurationError, SinkError
from auditwire.replaying.lines import FileLines, StreamLines
from support.stream_builder import StreamBuilder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from auditwire.reading import Record

RECORDS = StreamBuilder().turns(9).records


def line(record: Record) -> bytes:
    return b"%d\n" % record.sequence


def numbers(path: Path, *, compressed: bool = False) -> list[int]:
    data = path.read_bytes()
    return [int(text) for text in (gzip.decompress(data) if compressed else data).split()]


def opened(path: Path, known: Mapping[str, Any] | None = None, *, compress: bool = False) -> FileLines:
    return FileLines(path, line, known=known, compress=compress)


# -- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
def test_lines_stand_in_a_file_for_its_owner_alone(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "out"
    lines = opened(path, compress=compress)
    for record in RECORDS:
        lines.write(record)
    said = lines.finish()
    lines.close()
    assert numbers(path, compressed=compress) == list(range(10))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert said["bytes"] == path.stat().st_size


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 3])
def test_a_file_is_cut_back_to_what_was_settled_and_gone_on_with(
    tmp_path: Path, compress: bool, cut: int
) -> None:
    path = tmp_path / "out"
    lines = opened(path, compress=compress)
    for record in RECORDS[:cut]:
        lines.write(record)
    said = lines.settle()
    for record in RECORDS[cut:7]:  # written, and not settled: perhaps there, perhaps in part
        lines.write(record)
    lines.close()
    path.write_bytes(path.read_bytes() + b"part of a line")
    lines = opened(path, said, compress=compress)
    for record in RECORDS[cut:]:
        lines.write(record)
    assert lines.finish()["bytes"] == path.stat().st_size
    lines.close()
    assert numbers(path, compressed=compress) == list(range(10))


def test_what_is_settled_of_a_compressed_file_is_whole_for_any_reader_of_gzip(tmp_path: Path) -> None:
    path = tmp_path / "out.gz"
    lines = opened(path, compress=True)
    for upto in (4, 4, 7):
        for record in RECORDS[upto - 3 : upto]:
            lines.write(record)
        lines.settle()
        lines.settle()
        with gzip.open(path) as file:
            assert file.read()
    assert numbers(path, compressed=True) == [1, 2, 3, 1, 2, 3, 4, 5, 6]
    lines.close()


def test_a_compressed_file_without_lines_is_valid_gzip(tmp_path: Path) -> None:
    path = tmp_path / "out.gz"
    lines = opened(path, compress=True)
    lines.settle()
    assert path.stat().st_size == 0
    lines.finish()
    assert numbers(path, compressed=True) == []
    length = path.stat().st_size
    lines.finish()
    assert path.stat().st_size == length > 0
    lines.close()


def test_lines_for_someone_who_watches_are_there_at_once(tmp_path: Path) -> None:
    lines = FileLines(tmp_path / "out", line, each=True)
    for count, record in enumerate(RECORDS, 1):
        lines.write(record)
        assert len(numbers(tmp_path / "out")) == count
    lines.close()


def test_an_empty_file_that_is_there_is_taken_and_one_that_holds_something_is_not(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.touch()
    opened(path).close()
    path.write_text("mine")
    with pytest.raises(ConfigurationError, match=r"--to: .+out holds 4 bytes already"):
        opened(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("settled", [0, 3])
def test_another_file_of_that_name_is_left_alone(tmp_path: Path, settled: int) -> None:
    path = tmp_path / "out"
    lines = opened(path)
    for record in RECORDS[:settled]:
        lines.write(record)
    said = lines.settle()
    lines.close()
    path.rename(tmp_path / "old")  # its inode is not given to another file
    for other in (b"other bytes, more of them", b"x"):
        new = tmp_path / "new"
        new.write_bytes(other)
        new.replace(path)
        with pytest.raises(ConfigurationError, match=r"--resume: .+is not the file that was written"):
            opened(path, said)
        assert path.read_bytes() == other


def test_a_file_of_which_nothing_is_known_yet_and_that_is_gone_is_begun_anew(tmp_path: Path) -> None:
    lines = opened(tmp_path / "out")
    said = lines.settle()
    lines.close()
    (tmp_path / "out").unlink()
    opened(tmp_path / "out", said).close()


def test_a_file_that_holds_what_is_known_and_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    lines = opened(tmp_path / "out")
    lines.write(RECORDS[0])
    said = lines.settle()
    lines.close()
    (tmp_path / "out").unlink()
    with pytest.raises(ConfigurationError, match="out cannot be written: No such file or directory"):
        opened(tmp_path / "out", said)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="is no regular file; write to - and pipe it there"):
        opened(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="cannot be written: Is a directory"):
        opened(tmp_path)


@pytest.mark.parametrize("compress", [False, True])
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path, compress: bool) -> None:
    lines = FileLines(tmp_path / "out", line, compress=compress, each=True)

    class Full(io.BytesIO):
        def write(self, data: Any, /) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def flush(self) -> None:
            self.write(b"")

        def close(self) -> None:
            self.write(b"")

    real, lines._file = lines._file, Full()
    real.close()
    for call in (lambda: lines.write(RECORDS[0]), lines.settle, lines.close):
        with pytest.raises(SinkError, match="out could not be written: No space left on device") as caught:
            call()
        assert caught.value.retriable
    del Full.close  # it is closed once more when it is collected


# -- streams ------------------------------------------------------------------------------------------------


class Stream(io.BytesIO):
    def __init__(self) -> None:
        super().__init__()
        self.flushed = 0
        self.fault: OSError | None = None

    def flush(self) -> None:
        if self.fault is not None:
            raise self.fault
        self.flushed = len(self.getvalue())


def test_a_stream_is_flushed_when_it_is_settled_or_after_every_line() -> None:
    for each in (False, True):
        stream = Stream()
        lines = StreamLines(stream, line, each=each)
        lines.write(RECORDS[0])
        assert stream.flushed == (2 if each else 0)
        assert lines.settle() == {"bytes": 2}
        assert stream.flushed == 2
        lines.close()
        assert not stream.closed


def test_a_stream_whose_reader_went_away_says_so_and_any_other_fault_is_an_error() -> None:
    stream = Stream()
    lines = StreamLines(stream, line, each=True)
    stream.fault = BrokenPipeError()
    for call in (lambda: lines.write(RECORDS[0]), lines.settle):
        with pytest.raises(BrokenPipeError):
            call()
    stream.fault = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for call in (lambda: lines.write(RECORDS[0]), lines.settle):
        with pytest.raises(SinkError, match="standard output: No space left"):
            call()
