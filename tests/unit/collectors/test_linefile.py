from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from bombardment import bombarded
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.collectors.linefile import LineFile
from auditwire.errors import CollectorClosed, ConfigurationError, SinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Disk:
    """The ``os`` module with a disk that has room for so many bytes, and hooks before and in a write.

    A write that does not fit is short, and the next one fails, as POSIX has it.
    """

    def __init__(self, room: int | None = None, error: int = errno.ENOSPC) -> None:
        self.room, self.error = room, error
        self.before: Callable[[], object] | None = None
        self.inside: Callable[[], object] | None = None
        self.failing: dict[str, OSError] = {}

    def write(self, fd: int, data: memoryview) -> int:
        if self.before:
            call, self.before = self.before, None
            call()
        if self.room is not None:
            if not self.room:
                raise OSError(self.error, os.strerror(self.error))
            data = data[: self.room]
            self.room -= len(data)
        written = os.write(fd, data)
        if self.inside:
            call, self.inside = self.inside, None
            call()
        return written

    def __getattr__(self, name: str) -> Any:
        if name in self.failing:
            raise self.failing[name]
        return getattr(os, name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def disk() -> Disk:
    return Disk()


def in_threads(count: int, work: Callable[[int], object]) -> None:
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def descriptors_of(path: Path) -> int:
    return sum(os.path.realpath(f"/proc/self/fd/{fd}") == str(path) for fd in range(256))


# -- the plain case --------------------------------------------------------------------------------


def test_lines_are_appended_to_what_is_there(path: Path) -> None:
    path.write_text("0\n")
    for n in (1, 2):
        file = LineFile(path)
        file.append(b"%d\n" % n)
        file.close()
    assert path.read_text() == "0\n1\n2\n"


def test_a_line_is_in_the_file_when_append_returns(path: Path) -> None:
    file = LineFile(path)
    file.append(b"1\n")
    assert path.read_text() == "1\n"
    file.close()


def test_a_new_file_is_for_its_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        LineFile(path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_relative_path_is_that_of_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    file = LineFile("audit.jsonl")
    monkeypatch.chdir(tmp_path)
    file.reopen()
    file.append(b"1\n")
    file.close()
    assert (tmp_path / "a" / "audit.jsonl").read_text() == "1\n"


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"path: the directory .*/no/where does not exist: create it"
    ):
        LineFile(tmp_path / "no" / "where" / "audit.jsonl")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a directory"):
        LineFile(tmp_path)


def test_a_file_that_cannot_be_opened_is_a_sink_error(path: Path, disk: Disk) -> None:
    disk.failing["open"] = PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(SinkError, match=r"audit.jsonl: could not be opened: Permission denied"):
        LineFile(path, system=disk)


# -- closing, syncing, rotating --------------------------------------------------------------------


def test_closing_twice_does_nothing_and_appending_afterwards_is_refused(path: Path) -> None:
    file = LineFile(path)
    file.append(b"1\n")
    file.close()
    file.close()
    file.sync()
    with pytest.raises(CollectorClosed, match=r"audit.jsonl was closed"):
        file.append(b"2\n")
    with pytest.raises(CollectorClosed, match=r"audit.jsonl was closed"):
        file.reopen()
    assert path.read_text() == "1\n"
    assert descriptors_of(path) == 0


def test_sync_and_close_have_the_file_written_to_disk(path: Path, disk: Disk) -> None:
    synced: list[str] = []
    disk.fsync = lambda fd: synced.append(os.path.realpath(f"/proc/self/fd/{fd}"))  # type: ignore[attr-defined]
    file = LineFile(path, system=disk)
    file.sync()
    assert synced == [str(path)]
    file.close()
    assert synced == [str(path)] * 2


def test_a_disk_that_fails_is_told_and_the_file_closed_nevertheless(path: Path, disk: Disk) -> None:
    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    disk.fsync = fail  # type: ignore[attr-defined]  # stands before __getattr__
    file = LineFile(path, system=disk)
    with pytest.raises(SinkError, match=r"audit.jsonl: could not be written to disk: Input/output error"):
        file.sync()
    with pytest.raises(SinkError):
        file.close()
    file.close()
    assert descriptors_of(path) == 0


def test_other_threads_append_during_a_sync(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)

    def fsync(fd: int) -> None:
        in_threads(1, lambda _: file.append(b"meanwhile\n"))  # would never end if the lock were held

    disk.fsync = fsync  # type: ignore[attr-defined]  # stands before __getattr__
    file.sync()
    assert path.read_text() == "meanwhile\n"
    disk.fsync = os.fsync  # type: ignore[attr-defined]
    file.close()


def test_after_a_rotation_lines_go_to_the_new_file(path: Path) -> None:
    file = LineFile(path)
    file.append(b"1\n")
    path.rename(path.with_suffix(".1"))
    file.append(b"2\n")
    file.reopen()
    file.append(b"3\n")
    assert path.with_suffix(".1").read_text() == "1\n2\n"
    assert path.read_text() == "3\n"
    assert descriptors_of(path) == 1
    assert descriptors_of(path.with_suffix(".1")) == 0
    file.close()


def test_a_rotation_that_fails_leaves_the_old_file_in_use(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)
    disk.failing["open"] = OSError(errno.EMFILE, "Too many open files")
    with pytest.raises(SinkError, match="Too many open files"):
        file.reopen()
    file.append(b"1\n")
    assert path.read_text() == "1\n"
    file.close()


# -- short writes and full disks -------------------------------------------------------------------


def test_a_full_disk_refuses_the_line_and_keeps_no_part_of_it(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)
    file.append(b"first\n")
    disk.room = 3
    with pytest.raises(SinkError, match=r"audit.jsonl: No space left on device; the event was not written"):
        file.append(b"second\n")
    assert path.read_text() == "first\n"
    disk.room = None
    file.append(b"third\n")
    assert path.read_text() == "first\nthird\n"
    file.close()


def test_a_short_write_is_completed(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)
    disk.room = 3

    def more() -> None:
        disk.room = None

    disk.inside = more
    file.append(b"complete\n")
    assert path.read_text() == "complete\n"
    file.close()


def test_where_nothing_can_be_taken_back_the_next_line_starts_on_a_new_one(path: Path, disk: Disk) -> None:
    # an append-only file (chattr +a) refuses ftruncate
    file = LineFile(path, system=disk)
    disk.failing["ftruncate"] = PermissionError(errno.EPERM, "Operation not permitted")
    disk.room = 3
    with pytest.raises(SinkError):
        file.append(b"second\n")
    disk.room = None
    file.append(b"third\n")
    assert path.read_text() == "sec\nthird\n"
    file.close()


def test_half_a_line_of_a_writer_that_was_killed_gets_its_newline(path: Path) -> None:
    path.write_text("1\nhal")
    file = LineFile(path)
    file.append(b"2\n")
    with path.open("a") as other:
        other.write("hal")  # and again, while the file is open
    file.append(b"3\n")
    file.append(b"4\n")
    assert path.read_text() == "1\nhal\n2\nhal\n3\n4\n"
    file.close()


def test_what_another_program_appended_behind_half_a_line_is_not_taken_away(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)

    def other_program() -> None:
        with path.open("a") as other:
            other.write("theirs\n")
        disk.room = 0

    disk.room = 3
    disk.inside = other_program
    with pytest.raises(SinkError):
        file.append(b"ours\n")
    assert path.read_text() == "ourtheirs\n"
    disk.room = None
    file.append(b"next\n")
    assert path.read_text() == "ourtheirs\nnext\n"
    file.close()


def test_a_line_that_another_came_into_is_written_again_as_a_whole(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)

    def other_program() -> None:
        with path.open("a") as other:
            other.write("theirs\n")
        disk.room = None

    disk.room = 3
    disk.inside = other_program
    file.append(b"ours\n")
    assert path.read_text() == "ourtheirs\nours\n"
    file.close()


@given(
    steps=st.lists(
        st.tuples(st.binary(min_size=1, max_size=20), st.none() | st.integers(0, 25)), max_size=12
    ),
    start=st.sampled_from([b"", b"0\n", b"half"]),
)
@settings(deadline=None)
def test_whatever_fits_is_whole_and_what_does_not_is_not_there(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bytes, int | None]], start: bytes
) -> None:
    path = tmp_path_factory.mktemp("model") / "f"
    path.write_bytes(start)
    disk = Disk()
    file = LineFile(path, system=disk)
    model = start
    for content, room in steps:
        line = content.hex().encode() + b"\n"
        disk.room = room
        whole = (b"\n" if model and model[-1:] != b"\n" else b"") + line
        if room is None or room >= len(whole):
            file.append(line)
            model += whole
        else:
            with pytest.raises(SinkError):
                file.append(line)
        assert path.read_bytes() == model
    disk.room = None
    file.close()


def test_a_pipe_gets_whole_lines_too(tmp_path: Path, disk: Disk) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    file = LineFile(pipe, system=disk)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        file.append(b"1\n")
        disk.room = 2
        with pytest.raises(SinkError):
            file.append(b"lost\n")
        disk.room = None
        file.append(b"2\n")
        disk.room = 1

        def more() -> None:
            disk.room = None

        disk.inside = more
        file.append(b"3\n")
        file.sync()
        assert os.read(reader, 100) == b"1\nlo\n2\n3\n"
    finally:
        os.close(reader)
        file.close()


LIMITED = """
import json, resource, sys
from auditwire.collectors.linefile import LineFile
from auditwire.errors import SinkError
path, limit = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
file, accepted, refused = LineFile(path), [], []
for n in range(200):
    line = json.dumps({"n": n, "pad": "x" * (n * 7 % 50)})
    try:
        file.append(line.encode() + b"\\n")
        accepted.append(line)
    except SinkError as error:
        refused.append(str(error))
print(json.dumps([accepted, refused]))
"""


@pytest.mark.parametrize("limit", [1, 1_000, 2_003])
def test_a_real_limit_of_the_file_s_size_leaves_whole_lines(path: Path, limit: int) -> None:
    # the kernel itself makes the short write here
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), str(limit)], capture_output=True, text=True, check=True
    )
    accepted, refused = json.loads(run.stdout)
    assert path.read_text().splitlines() == accepted
    assert len(accepted) + len(refused) == 200
    assert all("File too large" in message for message in refused)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    mount = shutil.which("mount")
    folder = tmp_path / "small"
    folder.mkdir()
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "auditwire-test", str(folder)]
    if mount is None or os.geteuid() != 0 or subprocess.run(command, check=False).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_full_disk_leaves_whole_lines_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    path = small_disk / "audit.jsonl"
    file = LineFile(path)
    accepted = 0
    with pytest.raises(SinkError, match="No space left on device"):  # noqa: PT012 - until the disk is full
        while True:
            file.append(json.dumps({"n": accepted, "pad": "x" * 3_000}).encode() + b"\n")
            accepted += 1
    ballast = small_disk / "ballast"
    lines = path.read_text().splitlines()
    assert [json.loads(line)["n"] for line in lines] == list(range(accepted))
    path.rename(ballast)
    file.reopen()
    with pytest.raises(SinkError, match="No space left on device"):
        file.append(b"x" * 8_000 + b"\n")
    assert path.read_bytes() == b""
    ballast.unlink()
    file.append(b"{}\n")
    assert path.read_text() == "{}\n"
    file.close()


# -- threads and processes -------------------------------------------------------------------------


def test_threads_append_whole_lines(path: Path) -> None:
    file = LineFile(path)

    def work(number: int) -> None:
        for n in range(500):
            file.append(f'"{number}-{n}"\n'.encode())

    in_threads(8, work)
    file.close()
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(written) == sorted(f"{number}-{n}" for number in range(8) for n in range(500))


APPENDING = """
import json, sys
from auditwire.collectors.linefile import LineFile
file = LineFile(sys.argv[1])
for n in range(400):
    file.append(json.dumps([sys.argv[2], n, "x" * (n * 37 % 9_000)]).encode() + b"\\n")
file.close()
"""


def test_processes_append_whole_lines_to_one_file(path: Path) -> None:
    run = [subprocess.Popen([sys.executable, "-c", APPENDING, str(path), str(n)]) for n in range(4)]
    assert [process.wait(timeout=120) for process in run] == [0, 0, 0, 0]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for number in range(4):
        assert [n for who, n, _ in lines if who == str(number)] == list(range(400))
    assert len(lines) == 1_600


def test_a_process_that_holds_the_lock_for_ever_is_not_waited_for_for_ever(path: Path) -> None:
    now = 0.0
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        pauses.append(seconds)
        now += seconds

    file = LineFile(path, lock_timeout=1.0, clock=lambda: now, sleep=sleep)
    other = os.open(path, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(SinkError, match=r"another process has held the file's lock for 1.0 s"):
        file.append(b"1\n")
    assert 1.0 <= sum(pauses) < 1.1
    assert max(pauses) <= 0.01
    os.close(other)
    file.append(b"2\n")
    assert path.read_text() == "2\n"
    file.close()


def test_a_lock_that_is_freed_meanwhile_is_taken(path: Path) -> None:
    other = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    file = LineFile(path, sleep=lambda seconds: fcntl.flock(other, fcntl.LOCK_UN))
    file.append(b"1\n")
    assert path.read_text() == "1\n"
    os.close(other)
    file.close()


def test_the_lock_is_free_between_lines_whatever_came_of_them(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)
    other = os.open(path, os.O_RDWR)
    for room in (None, 0, 1):
        disk.room = room
        try:
            file.append(b"1\n")
        except SinkError:
            assert room is not None
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_UN)
    os.close(other)
    file.close()


def test_a_file_system_without_locks_refuses_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, operation: int) -> None:
        if operation != fcntl.LOCK_UN:
            raise OSError(errno.ENOLCK, "No locks available")

    file = LineFile(path)
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        with pytest.raises(SinkError, match="could not be locked: No locks available"):
            file.append(b"1\n")
    file.close()


# -- signals ---------------------------------------------------------------------------------------


def test_a_line_inside_another_is_written_at_once(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)

    def inside() -> None:
        file.append(b"inner\n")
        assert path.read_text() == "outer\ninner\n"

    disk.inside = inside
    file.append(b"outer\n")
    file.append(b"last\n")
    assert path.read_text() == "outer\ninner\nlast\n"
    file.close()


def test_a_line_inside_another_leaves_that_one_its_lock(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)
    other = os.open(path, os.O_RDWR)

    def inside() -> None:
        file.append(b"inner\n")
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    disk.inside = inside
    file.append(b"outer\n")
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    file.close()


def test_a_line_inside_half_of_another_leaves_both_whole(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)

    def inside() -> None:
        disk.room = None
        file.append(b"inner\n")

    disk.room = 3
    disk.inside = inside
    file.append(b"outer\n")
    assert path.read_text() == "out\ninner\nouter\n"
    file.close()


def interrupt() -> None:
    raise KeyboardInterrupt


def test_an_interruption_between_the_parts_of_a_line_takes_them_back(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)
    file.append(b"1\n")

    def before_the_next_write() -> None:
        disk.room, disk.before = None, interrupt

    disk.room = 2
    disk.inside = before_the_next_write
    with pytest.raises(KeyboardInterrupt):
        file.append(b"outer\n")
    assert path.read_text() == "1\n"
    file.append(b"2\n")
    assert path.read_text() == "1\n2\n"
    file.close()


def test_an_interruption_that_hides_how_much_was_written_cuts_nothing_off(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)
    file.append(b"1\n")

    def second_write() -> None:
        disk.room = 2
        disk.inside = interrupt

    disk.room = 2
    disk.inside = second_write
    with pytest.raises(KeyboardInterrupt):
        file.append(b"outer\n")
    disk.room = None
    file.append(b"2\n")
    assert path.read_text() == "1\noute\n2\n"
    file.close()


def test_closing_inside_an_append_lets_the_line_be_written(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)
    disk.room = 2

    def inside() -> None:
        disk.room = None
        file.close()
        assert descriptors_of(path) == 1

    disk.inside = inside
    file.append(b"outer\n")
    assert path.read_text() == "outer\n"
    assert descriptors_of(path) == 0
    with pytest.raises(CollectorClosed):
        file.append(b"late\n")


def test_rotating_inside_half_a_line_writes_it_to_the_new_file(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)
    disk.room = 2

    def inside() -> None:
        disk.room = None
        path.rename(path.with_suffix(".1"))
        file.reopen()

    disk.inside = inside
    file.append(b"outer\n")
    assert path.read_text() == "outer\n"
    assert path.with_suffix(".1").read_text() == "ou"
    file.close()


def test_a_signal_handler_may_append_inside_an_append(path: Path) -> None:
    file = LineFile(path)
    handled = written = 0

    def handle() -> None:
        nonlocal handled
        file.append(b'"signal %d"\n' % handled)
        handled += 1

    with bombarded(handle) as order:
        while handled < 1_000:
            order()
            file.append(b'"loop %d"\n' % written)
            written += 1
    file.close()
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(found) == sorted(
        [f"loop {n}" for n in range(written)] + [f"signal {n}" for n in range(handled)]
    )


# In a process of its own: an exception at any byte code would also hit, and break, pytest and coverage.
INTERRUPTED = """
import fcntl, json, os, random, signal, sys, threading
from auditwire.collectors.linefile import LineFile

class Interruption(Exception):
    pass

def handle(number, frame):
    global armed, raised
    if armed:
        armed = False
        raised += 1
        raise Interruption

def append_until_interrupted():
    global armed, tried
    armed = True
    signal.setitimer(signal.ITIMER_REAL, pick.uniform(0.000_005, 0.000_1))
    while armed:
        tried += 1
        file.append(b"%d\\n" % tried)
        accepted.append(tried)

file, pick = LineFile(sys.argv[1]), random.Random(7)
armed, raised, tried, accepted = False, 0, 0, []
signal.signal(signal.SIGALRM, handle)
while raised < 10_000:
    try:
        append_until_interrupted()
    except Interruption:
        pass
signal.setitimer(signal.ITIMER_REAL, 0)
other = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the file's lock is free
os.close(other)
thread = threading.Thread(target=file.append, args=(b"0\\n",))  # and so is the threads'
thread.start()
thread.join()
file.close()
json.dump([tried, accepted], sys.stdout)
"""


def test_an_exception_from_a_signal_handler_leaves_a_line_whole_or_absent(path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    tried, accepted = json.loads(run.stdout)
    *found, last = [int(line) for line in path.read_text().splitlines()]
    assert last == 0
    assert len(set(found)) == len(found), "no line twice"
    assert set(accepted) <= set(found), "what was accepted is there"
    assert set(found) <= set(range(1, tried + 1)), "and nothing else is"


# -- fork ------------------------------------------------------------------------------------------

FORKING = """
import json, os, sys, threading
from auditwire.collectors.linefile import LineFile

class Stalling:
    # holds the file's and the threads' lock of the parent in the middle of a write
    def __init__(self):
        self.inside, self.go, self.stall = threading.Event(), threading.Event(), False
    def write(self, fd, data):
        if self.stall:
            self.stall = False
            self.inside.set()
            self.go.wait(60)
        return os.write(fd, data)
    def __getattr__(self, name):
        return getattr(os, name)

system = Stalling()
file = LineFile(sys.argv[1], lock_timeout=60.0, system=system)
file.append(b'"before"\\n')
system.stall = True
thread = threading.Thread(target=file.append, args=(b'"parent"\\n',))
thread.start()
system.inside.wait(60)
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    os.write(write, b"x")
    file.append(b'"child"\\n')
    file.close()
    os._exit(0)
os.read(read, 1)
system.go.set()
thread.join()
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
file.append(b'"after"\\n')
file.close()
raise SystemExit(code)
"""


def test_a_forked_child_appends_although_a_thread_of_its_parent_was_inside(path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert (lines[0], sorted(lines[1:3]), lines[3:]) == ("before", ["child", "parent"], ["after"])


def test_a_child_has_a_descriptor_of_its_own(path: Path) -> None:
    file = LineFile(path)
    file.append(b"1\n")
    shared = os.dup(file._fd)  # as the parent's
    file.after_fork()
    fcntl.flock(shared, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError):
        fcntl.flock(file._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the two exclude each other
    os.close(shared)
    file.append(b"2\n")
    assert path.read_text() == "1\n2\n"
    file.close()


def test_a_child_that_cannot_open_the_file_goes_on_with_its_parent_s(path: Path, disk: Disk) -> None:
    file = LineFile(path, system=disk)
    disk.failing["open"] = PermissionError(errno.EACCES, "Permission denied")
    file.after_fork()
    file.append(b"1\n")
    assert path.read_text() == "1\n"
    file.close()
    file.after_fork()  # closed: nothing to open
    assert descriptors_of(path) == 0


def test_a_child_does_not_find_the_lock_taken(path: Path) -> None:
    file = LineFile(path)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with file._lock:
            file._inside = True
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    file.after_fork()
    file.append(b"1\n")
    assert path.read_text() == "1\n"
    done.set()
    thread.join()
    file.close()
