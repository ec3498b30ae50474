from __future__ import annotations

import io
import os
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

import pytest

from auditwire.errors import AuditwireError, ConfigurationError
from auditwire.shipping import FileSource, StreamSource
from auditwire.shipping.source import CHUNK

if TYPE_CHECKING:
    from pathlib import Path

    from auditwire.shipping.state import State

CHAIN = b"c" * 32


class Watched:
    """A file source, what it warned of, and a clock that stands."""

    def __init__(self, path: Path, state: State | None = None, *, follow: bool = True) -> None:
        self.warnings: list[str] = []
        self.now = 0.0
        self.source = FileSource(
            path,
            follow=follow,
            state=state,
            warn=self.warnings.append,
            clock=lambda: self.now,
            patience=2.0,
        )

    def rest(self) -> bytes:
        """Everything up to where there is no more now."""
        data = b""
        while more := self.source.read():
            data += more
        return data

    def state(self, offset: int) -> State:
        found = self.source.state(offset, 1, CHAIN)
        assert found is not None
        return found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    path.write_bytes(b"one\ntwo\n")
    return path


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_file_is_read_to_its_end_and_what_is_appended_later(log: Path) -> None:
    watched = Watched(log)
    assert watched.rest() == b"one\ntwo\n"
    assert (watched.source.read(), watched.source.over()) == (b"", False)
    append(log, b"three\n")
    assert watched.rest() == b"three\n"
    assert watched.warnings == []


def test_large_files_come_in_pieces(log: Path) -> None:
    content = os.urandom(3 * CHUNK + 7)
    log.write_bytes(content)
    source = Watched(log).source
    pieces = []
    while piece := source.read():
        pieces.append(piece)
    assert [len(piece) for piece in pieces] == [CHUNK, CHUNK, CHUNK, 7]
    assert b"".join(pieces) == content


def test_a_renamed_file_is_left_when_it_has_been_quiet_for_the_patience(log: Path) -> None:
    watched = Watched(log)
    watched.rest()
    log.rename(log.with_name("audit.log.1"))
    assert not watched.source.over()  # nothing in its place yet
    log.write_bytes(b"new\n")
    assert not watched.source.over()
    watched.now = 1.9
    append(log.with_name("audit.log.1"), b"late\n")
    assert watched.rest() == b"late\n"
    assert not watched.source.over()
    watched.now = 3.8
    assert not watched.source.over()
    watched.now = 3.9
    assert watched.source.over()
    assert watched.source.turn() is False
    assert watched.rest() == b"new\n"
    assert not watched.source.over()
    assert watched.warnings == []


def test_a_new_file_that_goes_away_in_the_moment_of_turning_is_waited_for(log: Path) -> None:
    watched = Watched(log)
    watched.rest()
    log.rename(log.with_name("audit.log.1"))
    assert watched.source.turn() is False
    assert watched.source.read() == b""
    assert not watched.source.over()
    assert watched.source.state(0, 0, CHAIN) is None
    log.write_bytes(b"new\n")
    assert watched.rest() == b"new\n"


def test_a_file_that_is_not_there_yet_is_waited_for_when_following(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "audit.log")
    assert watched.source.read() == b""
    assert not watched.source.over()
    (tmp_path / "audit.log").write_bytes(b"one\n")
    assert watched.rest() == b"one\n"


@pytest.mark.parametrize("regrown", [b"", b"new\n", b"a longer line than all before\n"])
def test_a_truncated_file_is_read_anew_however_far_it_has_grown(log: Path, regrown: bytes) -> None:
    watched = Watched(log)
    watched.rest()
    log.write_bytes(regrown)
    assert watched.source.read() == b""
    assert watched.source.over()
    assert watched.source.turn() is False
    assert watched.rest() == regrown
    assert watched.source.doubts == 1
    assert "was truncated or written anew, and no copy was found" in watched.warnings[0]


def test_the_copy_of_a_truncated_file_is_read_to_its_end_first(log: Path) -> None:
    watched = Watched(log)
    watched.rest()
    copy = log.with_name("audit.log.1")
    copy.write_bytes(log.read_bytes() + b"three\nfo")
    log.with_name("audit.log.2").write_bytes(b"something else, long enough\n")
    log.write_bytes(b"ur\n")
    assert watched.source.read() == b""
    assert watched.source.turn() is True
    assert watched.rest() == b"three\nfo"
    assert not watched.source.over()
    watched.now = 2.0
    assert watched.source.over()
    assert watched.source.turn() is False
    assert watched.rest() == b"ur\n"
    assert watched.warnings == []


def test_the_place_of_a_state_is_gone_on_from(log: Path) -> None:
    state = Watched(log).source
    state.read()
    known = state.state(4, 1, CHAIN)
    watched = Watched(log, known)
    assert watched.source.resumed == known
    assert watched.rest() == b"two\n"


@pytest.mark.parametrize("follow", [False, True])
def test_a_file_that_was_renamed_meanwhile_is_found_and_read_to_its_end(log: Path, follow: bool) -> None:
    first = Watched(log)
    first.rest()
    known = first.state(4)
    log.rename(log.with_name("old-name-of-any-kind"))
    log.write_bytes(b"new\n")
    watched = Watched(log, known, follow=follow)
    assert watched.rest() == b"two\n"
    watched.source.over()
    watched.now = 2.0
    assert watched.source.over()
    assert watched.source.turn() is False
    assert watched.rest() == b"new\n"
    assert not watched.source.over()
    assert watched.warnings == []


def test_without_a_new_file_the_renamed_one_is_all_there_is(log: Path) -> None:
    first = Watched(log)
    first.rest()
    known = first.state(4)
    log.rename(log.with_name("audit.log.1"))
    watched = Watched(log, known, follow=False)
    assert watched.rest() == b"two\n"
    assert not watched.source.over()


def test_all_rotations_since_are_read_in_their_order(log: Path) -> None:
    first = Watched(log)
    first.rest()
    known = first.state(4)
    contents = {
        "audit.log.3": None,  # the log itself
        "audit.log.2": b"second\n",
        "audit-20260131.log": b"third\n",
        "audit.log.0": b"older than all\n",
        "audit.log.bak": b"not a rotation\n",
        "audit.log.1.gz": b"compressed",
    }
    for age, (name, content) in enumerate(contents.items()):
        path = log.with_name(name)
        if content is None:
            log.rename(path)
        else:
            path.write_bytes(content)
        at = 1_000_000_000 + age if name != "audit.log.0" else 1
        os.utime(path, (at, at))
    log.write_bytes(b"new\n")
    watched = Watched(log, known, follow=False)
    read = [watched.rest()]
    while watched.source.over():
        assert watched.source.turn() is False
        read.append(watched.rest())
    assert read == [b"two\n", b"second\n", b"third\n", b"new\n"]
    assert watched.source.doubts == 1
    assert watched.warnings == ["compressed meanwhile, and not read: audit.log.1.gz. Ship them by themselves"]


def test_a_rotation_that_goes_away_meanwhile_is_passed_over(log: Path) -> None:
    first = Watched(log)
    first.rest()
    known = first.state(4)
    log.rename(log.with_name("audit.log.2"))
    os.utime(log.with_name("audit.log.2"), (1, 1))
    log.with_name("audit.log.1").write_bytes(b"second\n")
    log.write_bytes(b"new\n")
    watched = Watched(log, known, follow=False)
    watched.rest()
    log.with_name("audit.log.1").unlink()
    assert watched.source.over()
    watched.source.turn()
    assert watched.rest() == b"new\n"


def test_a_file_that_cannot_be_found_again_is_told(log: Path) -> None:
    first = Watched(log)
    first.rest()
    known = first.state(4)
    log.write_bytes(b"quite another content\n")
    log.with_name("audit.log.1.gz").write_bytes(b"")
    log.with_name("audit.log.2").mkdir()  # what cannot be read is not it
    watched = Watched(log, known)
    assert watched.source.resumed is None
    assert watched.rest() == b"quite another content\n"
    assert watched.source.doubts == 1
    assert "first 4 bytes are shipped was rotated away and is not found" in watched.warnings[0]
    assert "audit.log.1.gz" in watched.warnings[0]


def test_a_name_that_leads_nowhere_is_no_rotation(log: Path) -> None:
    first = Watched(log)
    first.rest()
    known = first.state(4)
    log.unlink()
    log.with_name("audit.log.1").symlink_to("nowhere")
    watched = Watched(log, known)
    assert watched.source.resumed is None
    assert watched.source.doubts == 1


def test_a_rotation_that_goes_away_while_it_is_looked_for_is_passed_over(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Watched(log)
    first.rest()
    known = first.state(4)
    log.unlink()
    log.with_name("audit.log.1").write_bytes(b"one\ntwo\n")
    monkeypatch.setattr("auditwire.shipping.source._open", lambda _path: None)
    assert Watched(log, known).source.doubts == 1


def test_a_state_at_the_beginning_knows_its_file_by_the_inode(log: Path) -> None:
    known = Watched(log).state(0)
    assert Watched(log, known).rest() == b"one\ntwo\n"
    log.rename(log.with_name("audit.log.1"))
    log.write_bytes(b"new\n")
    watched = Watched(log, known, follow=False)
    assert watched.rest() == b"one\ntwo\n"
    assert watched.source.over()
    log.with_name("audit.log.1").unlink()
    watched = Watched(log, replace(known, inode=0), follow=False)
    assert (watched.rest(), watched.warnings) == (b"new\n", [])


def test_there_is_no_state_of_a_file_that_has_changed_meanwhile(log: Path) -> None:
    watched = Watched(log)
    watched.rest()
    log.write_bytes(b"")
    assert watched.source.state(4, 1, CHAIN) is None


def test_a_state_says_which_file_it_is_of(log: Path) -> None:
    watched = Watched(log)
    watched.rest()
    status = log.stat()
    state = watched.state(4)
    assert (state.path, state.device, state.inode) == (str(log), status.st_dev, status.st_ino)
    assert (state.offset, state.line, state.chain) == (4, 1, CHAIN.hex())


def test_what_cannot_be_read_is_a_wrong_argument(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"FILE: .*nothing cannot be read: there is no such file"):
        Watched(tmp_path / "nothing", follow=False)
    with pytest.raises(ConfigurationError, match="it is no regular file; pipe it in, and name it -"):
        Watched(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="it is no regular file"):
        Watched(tmp_path / "pipe")


def test_a_closed_source_has_no_file_open(log: Path) -> None:
    source = Watched(log).source
    fd = source._fd
    source.close()
    source.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_stream_is_read_to_its_end_and_has_no_state() -> None:
    source = StreamSource(io.BytesIO(b"one\n"), "standard input")
    assert (source.read(), source.read()) == (b"one\n", b"")
    assert (source.over(), source.turn(), source.state(0, 0, CHAIN)) == (False, False, None)
    source.close()


@pytest.mark.parametrize("error", [EOFError("ended"), OSError("bad")])
def test_a_stream_that_is_damaged_is_named(error: Exception) -> None:
    class Damaged(io.RawIOBase, BinaryIO):  # a stream without read1
        def read(self, _size: int = -1) -> bytes:
            raise error

    with pytest.raises(AuditwireError, match=r"x\.gz cannot be read to its end: "):
        StreamSource(Damaged(), "x.gz").read()
