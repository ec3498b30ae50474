"""``auditwire journal status|check|inspect`` over files as dead and living processes leave them."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

import pytest

from auditwire.cli import progress
from auditwire.cli.app import run
from auditwire.cli.journal_path import age_text, bytes_text, count_text
from auditwire.events import ErrorEvent, TurnStartEvent
from auditwire.journal.base import Record
from auditwire.journal.contents import place_of, read_stream
from auditwire.journal.directory import StreamDirectory
from auditwire.journal.filesystem import REAL
from auditwire.journal.target import Target
from support.journal_files import JournalFiles, StreamFiles

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_journal_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUDITWIRE_JOURNAL", raising=False)


@pytest.fixture
def files(tmp_path: Path) -> JournalFiles:
    return JournalFiles(tmp_path / "journal")


def told(capsys: Capsys, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    status = run(["journal", *arguments, "--json"])
    captured = capsys.readouterr()
    return status, [json.loads(line) for line in captured.out.splitlines()], captured.err


def shown(capsys: Capsys, *arguments: str) -> tuple[int, list[str]]:
    status = run(["journal", *arguments])
    captured = capsys.readouterr()
    assert captured.err == ""
    return status, captured.out.splitlines()


def flip(stream: StreamFiles, sequence: int) -> None:
    """Change a byte of a record's body."""
    record = next(
        each
        for each in read_stream(REAL, stream.directory, alive=False)
        if isinstance(each, Record) and each.sequence == sequence
    )
    file, offset = place_of(record)
    stream.damage(file, offset + record.size - 16, b"\xff")


# -- all of them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["status", "check", "inspect"])
def test_where_there_is_no_journal_the_status_is_4(tmp_path: Path, capsys: Capsys, command: str) -> None:
    assert run(["journal", command, str(tmp_path / "none")]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"auditwire: there is no journal in {tmp_path}/none\n"


@pytest.mark.parametrize("command", ["status", "check", "inspect"])
def test_the_path_may_stand_in_the_environment(
    files: JournalFiles, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("AUDITWIRE_JOURNAL", str(files.path))
    assert run(["journal", command]) == 0


@pytest.mark.parametrize("command", ["status", "check", "inspect"])
def test_what_may_not_be_read_is_wrong_usage_and_no_damage(
    files: JournalFiles, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def refused(directory: StreamDirectory) -> list[int]:
        raise PermissionError(errno.EACCES, "Permission denied", directory.path)

    stream = files.stream().errors(1)
    monkeypatch.setattr(StreamDirectory, "segments", refused)
    assert run(["journal", command, str(files.path)]) == 2
    path = f"{files.path}/{stream.stream_id}"
    assert capsys.readouterr().err == f"auditwire: PATH: {path} may not be read: Permission denied\n"


@pytest.mark.parametrize("command", ["status", "check", "inspect"])
def test_without_a_path_it_is_wrong_usage(capsys: Capsys, command: str) -> None:
    assert run(["journal", command]) == 2
    assert "PATH" in capsys.readouterr().err


def test_without_a_command_there_is_help(capsys: Capsys) -> None:
    assert run(["journal"]) == 0
    said = capsys.readouterr().out
    assert all(command in said for command in ("status", "inspect", "check"))


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1 << 20, "1.0 MiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 50, "1,024.0 TiB"),
    ],
)
def test_sizes_read_in_powers_of_two(count: int, said: str) -> None:
    assert bytes_text(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59, "59 s"), (90, "1.5 min"), (7200, "2.0 h"), (129_600, "1.5 d")]
)
def test_ages_read_in_their_largest_unit(seconds: float, said: str) -> None:
    assert age_text(seconds) == said


def test_one_is_not_many() -> None:
    assert [count_text(n, "record") for n in (0, 1, 2000)] == ["0 records", "1 record", "2,000 records"]


# -- status -------------------------------------------------------------------------------------------------


def test_an_empty_journal_has_nothing_to_tell(files: JournalFiles, capsys: Capsys) -> None:
    assert shown(capsys, "status", str(files.path)) == (0, ["0 streams, 0 records pending, 0 B used"])


def test_a_stream_that_is_delivered_is_status_0(files: JournalFiles, capsys: Capsys) -> None:
    files.stream().serve().errors(5).cursor(5)
    status, (found,), _ = told(capsys, "status", str(files.path))
    assert (status, found["status"], found["pending_records"], found["oldest_seconds"]) == (0, 0, 0, None)


def test_records_that_wait_are_status_3_and_told(files: JournalFiles, capsys: Capsys) -> None:
    stream = files.stream().errors(5).cursor(2).end()
    status, (found,), _ = told(capsys, "status", str(files.path))
    assert (status, found["status"], found["pending_records"]) == (3, 3, 3)
    (one,) = found["streams"]
    assert one["stream_id"] == stream.stream_id
    assert (one["owner_alive"], one["served"], one["service"], one["pid"]) == (False, False, "support-bot", 7)
    assert one["target"] == {"bootstrap": "broker:9092", "prefix": "audit"}
    assert 0 <= one["oldest_seconds"] < 600
    assert one["oldest_at"].endswith("+00:00")
    assert found["pending_bytes"] == one["pending_bytes"] > 0


def test_records_that_wait_for_a_moment_are_no_reason_for_an_alert(
    files: JournalFiles, capsys: Capsys
) -> None:
    old = ErrorEvent()
    old.timestamp_us = 1_577_836_800_000_000
    files.stream().errors(5)
    assert told(capsys, "status", str(files.path), "--older-than", "3600")[0] == 0
    files.stream().write(old)
    assert told(capsys, "status", str(files.path), "--older-than", "3600")[0] == 3


def test_a_record_from_the_future_is_not_of_a_negative_age(files: JournalFiles, capsys: Capsys) -> None:
    later = ErrorEvent()
    later.timestamp_us += 1_000_000_000_000
    files.stream().write(later)
    _, (found,), _ = told(capsys, "status", str(files.path))
    assert found["oldest_seconds"] == 0


def test_a_parked_topic_is_status_3_with_its_reason(files: JournalFiles, capsys: Capsys) -> None:
    stream = files.stream().serve().errors(2).cursor(2)
    parked = {"audit.error": {"reason": "TOPIC_AUTHORIZATION_FAILED", "since": "2026-01-02T00:00:00+00:00"}}
    stream.directory.write_state({"parked": parked, "last_error": "one broker is down"})
    stream.errors(3, file="parked/00000000.seg")
    stream.sequence = 2
    status, lines = shown(capsys, "status", str(files.path))
    assert status == 3
    assert any(
        line.startswith(
            f"parked: topic audit.error takes no records of stream {stream.stream_id} since "
            "2026-01-02T00:00:00+00:00: TOPIC_AUTHORIZATION_FAILED; 3 copied, "
        )
        for line in lines
    )
    assert f"last error of the sender of stream {stream.stream_id}: one broker is down" in lines
    _, (found,), _ = told(capsys, "status", str(files.path))
    assert found["streams"][0]["parked"][0]["records"] == 3


def test_a_withheld_record_is_status_1_whatever_waits(files: JournalFiles, capsys: Capsys) -> None:
    stream = files.stream().errors(2).quarantine(ErrorEvent(error_type="big"))
    status, lines = shown(capsys, "status", str(files.path))
    assert status == 1
    (line,) = (line for line in lines if line.startswith("quarantined: "))
    assert line.startswith(f"quarantined: record 2 of stream {stream.stream_id} (error, ")
    assert line.endswith("for topic audit.error: MSG_SIZE_TOO_LARGE, 2026-01-02T03:04:06+00:00")
    _, (found,), _ = told(capsys, "status", str(files.path))
    assert found["quarantined"][0]["reason"] == "MSG_SIZE_TOO_LARGE"


def test_an_unreadable_range_is_status_1(files: JournalFiles, capsys: Capsys) -> None:
    stream = files.stream().keep("00000002-64-128.bytes", b"?")
    status, lines = shown(capsys, "status", str(files.path))
    assert status == 1
    assert (
        f"unreadable: 00000002.seg of stream {stream.stream_id}, bytes 64 to 128: its note cannot be read"
        in lines
    )


def test_a_damaged_header_is_status_1(files: JournalFiles, capsys: Capsys) -> None:
    stream = (
        files.stream().errors(2, seal=True).errors(1, file="00000001.seg").damage("00000000.seg", 0, b"?")
    )
    status, lines = shown(capsys, "status", str(files.path))
    assert status == 1
    assert any(
        line.startswith(f"damaged: 00000000.seg of stream {stream.stream_id}, bytes 0 to") for line in lines
    )
    _, (found,), _ = told(capsys, "status", str(files.path))
    assert found["streams"][0]["damage"][0]["file"] == "00000000.seg"


def test_of_many_withheld_records_people_see_the_first(files: JournalFiles, capsys: Capsys) -> None:
    stream = files.stream()
    for _ in range(23):
        stream.quarantine(ErrorEvent())
    _, lines = shown(capsys, "status", str(files.path))
    assert sum(line.startswith("quarantined: ") for line in lines) == 20
    assert "and 3 more; --json shows all" in lines
    assert len(told(capsys, "status", str(files.path))[1][0]["quarantined"]) == 23


def test_people_get_a_table(files: JournalFiles, capsys: Capsys) -> None:
    one = files.stream(service="planner").serve().errors(1200 // 100)
    two = files.stream(target=Target("", "other"), service="\x1b[31mred").end()
    three = files.stream().end()
    REAL.unlink(f"{three.directory.path}/stream.json")
    (files.path / "notes.txt").write_text("mine")
    files.journal.note_ended(f"{one.stream_id}:3:{'ab' * 32}")
    status, lines = shown(capsys, "status", str(files.path))
    assert status == 3
    header, *rows = lines[:4]
    assert header.split() == [
        "stream", "service", "owner", "sender", "pending", "size", "oldest", "parked", "prefix", "broker",
    ]  # fmt: skip
    assert rows[0].split()[:5] == [one.stream_id, "planner", "alive", "yes", "12"]
    assert rows[0].split()[-2:] == ["audit", "broker:9092"]
    assert rows[1].split() == [two.stream_id, "\\x1b[31mred", "ended", "no", "0", "other", "any"]
    assert rows[2].split() == [three.stream_id, "?", "ended", "no", "0", "?", "?"]
    assert lines[5] == "none of the journal's, and left alone: notes.txt"
    assert lines[6].startswith("3 streams, 12 records pending, ")
    assert lines[6].endswith("used, 1 delivered and not named by a later stream yet")


def test_a_lock_that_cannot_be_looked_at_is_a_question_mark(
    files: JournalFiles, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object) -> bool:
        raise PermissionError

    stream = files.stream().serve()
    monkeypatch.setattr(type(stream.directory), "owner_alive", refused)
    monkeypatch.setattr(type(stream.directory), "sent", refused)
    _, lines = shown(capsys, "status", str(files.path))
    assert lines[1].split()[2:4] == ["?", "?"]
    _, (found,), _ = told(capsys, "status", str(files.path))
    assert (found["streams"][0]["owner_alive"], found["streams"][0]["served"]) == (None, None)


def test_a_time_that_no_calendar_has_is_told_as_none(
    files: JournalFiles, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from auditwire.cli import journal_status

    assert journal_status._iso(1 << 62) is None
    assert journal_status._iso(0) == "1970-01-01T00:00:00+00:00"


# -- check --------------------------------------------------------------------------------------------------


def test_a_whole_journal_is_status_0(files: JournalFiles, capsys: Capsys) -> None:
    one = files.stream().errors(3).end()
    two = files.stream().errors(2)
    two.errors(1, file="parked/00000000.seg")
    status, lines = shown(capsys, "check", str(files.path))
    assert status == 0
    assert lines[0].startswith(f"stream {one.stream_id}: 3 records (0 to 2), ")
    assert lines[0].endswith("B: whole")
    assert lines[1].startswith(f"stream {two.stream_id}: 2 records (0 to 1), 1 parked copy, ")
    assert lines[1].endswith("B, still written: whole")
    _, (first, second), _ = told(capsys, "check", str(files.path))
    assert (first["records"], first["first_sequence"], first["last_sequence"]) == (3, 0, 2)
    assert (second["owner_alive"], second["parked_copies"], second["damage"]) == (True, 1, [])


def test_damage_is_status_1_with_file_and_bytes(files: JournalFiles, capsys: Capsys) -> None:
    stream = files.stream().errors(4).errors(2, file="parked/00000000.seg").end()
    flip(stream, 1)
    flip(stream, 2)
    stream.damage("parked/00000000.seg", 0, b"?")
    status, lines = shown(capsys, "check", str(files.path))
    assert status == 1
    assert lines[0].endswith(": 2 damaged places")
    assert lines[1].startswith("  00000000.seg, bytes ")
    assert lines[1].endswith(": the checksum differs")
    assert lines[2].startswith("  parked/00000000.seg, bytes 0 to ")
    _, (found,), _ = told(capsys, "check", str(files.path))
    assert (found["records"], [each["file"] for each in found["damage"]]) == (
        2,
        ["00000000.seg", "parked/00000000.seg"],
    )


def test_a_journal_without_streams_has_nothing_to_check(files: JournalFiles, capsys: Capsys) -> None:
    assert run(["journal", "check", str(files.path)]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "auditwire: there is no stream in it\n")


def test_a_terminal_gets_a_bar(files: JournalFiles, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    files.stream().errors(3).end()
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run(["journal", "check", str(files.path)]) == 0
    assert "checking" in capsys.readouterr().err


# -- inspect ------------------------------------------------------------------------------------------------


def test_records_read_as_tail_prints_them(files: JournalFiles, capsys: Capsys) -> None:
    event = TurnStartEvent(prompt_preview="where is it?", session_id="s-1", agent_id="planner")
    stream = files.stream().write(event, ErrorEvent(error_type="E", error_message="no"))
    status, lines = shown(capsys, "inspect", str(files.path))
    assert status == 0
    assert lines[0].split()[1:] == ["turn_start", "s-1", "planner", "where", "is", "it?"]
    assert lines[1].endswith("E: no")
    _, (first, second), _ = told(capsys, "inspect", str(files.path))
    assert first == {
        **event.to_dict(),
        "stream_id": stream.stream_id,
        "sequence": 0,
        "topic": "audit.turn-start",
        "file": "00000000.seg",
        "offset": first["offset"],
    }
    assert (second["sequence"], second["offset"] > first["offset"]) == (1, True)


def test_a_stream_is_named_by_the_beginning_of_its_id(files: JournalFiles, capsys: Capsys) -> None:
    one, two = files.stream().errors(1), files.stream().errors(2)
    assert len(told(capsys, "inspect", str(files.path))[1]) == 3
    _, found, _ = told(capsys, "inspect", str(files.path), two.stream_id)
    assert [each["stream_id"] for each in found] == [two.stream_id] * 2
    common = one.stream_id[:6]
    assert len(told(capsys, "inspect", str(files.path), common, "--limit", "2")[1]) == 2


def test_a_stream_that_is_not_there_is_wrong_usage(files: JournalFiles, capsys: Capsys) -> None:
    status, found, err = told(capsys, "inspect", str(files.path), "ffff")
    assert (status, found) == (2, [])
    assert "no stream here begins with ffff" in err


def test_what_is_delivered_can_be_left_out(files: JournalFiles, capsys: Capsys) -> None:
    files.stream().errors(5).cursor(3)
    _, found, _ = told(capsys, "inspect", str(files.path), "--pending")
    assert [each["sequence"] for each in found] == [3, 4]


def test_parked_copies_are_shown_by_themselves(files: JournalFiles, capsys: Capsys) -> None:
    files.stream().errors(2).errors(1, file="parked/00000000.seg")
    _, (found,), _ = told(capsys, "inspect", str(files.path), "--parked")
    assert (found["sequence"], found["file"]) == (2, "parked/00000000.seg")


def test_withheld_records_are_shown_with_their_reason(files: JournalFiles, capsys: Capsys) -> None:
    stream = files.stream().quarantine(ErrorEvent(error_type="E", error_message="big"))
    files.stream().quarantine(ErrorEvent(error_type="F"))
    arguments = ("inspect", str(files.path), stream.stream_id, "--quarantined")
    _, (found,), _ = told(capsys, *arguments)
    assert (found["error_message"], found["topic"]) == ("big", "audit.error")
    assert found["quarantine"]["reason"] == "MSG_SIZE_TOO_LARGE"
    assert found["quarantine"]["path"].endswith("/0.avro")
    status, lines = shown(capsys, *arguments)
    assert status == 0
    assert lines[1] == "  MSG_SIZE_TOO_LARGE by audit.error at 2026-01-02T03:04:06+00:00"
    assert len(told(capsys, "inspect", str(files.path), "--quarantined", "--limit", "1")[1]) == 1


def test_a_withheld_record_whose_value_is_gone_is_named_and_status_1(
    files: JournalFiles, capsys: Capsys
) -> None:
    stream = files.stream().keep("3.json", b"{}").keep("4.avro", b"\xc3\x01no event")
    status, found, _ = told(capsys, "inspect", str(files.path), "--quarantined")
    assert status == 1
    assert [each["sequence"] for each in found] == [3, 4]
    assert f"record 3 of stream {stream.stream_id}: " in found[0]["error"]
    assert "No such file" in found[0]["error"]
    assert "10 bytes of type ?" in found[1]["error"]


def test_unreadable_bytes_are_shown_as_they_begin(files: JournalFiles, capsys: Capsys) -> None:
    stream = files.stream().keep("00000002-64-128.bytes", bytes(range(64))).keep("00000003-0-8.json", b"{}")
    status, found, _ = told(capsys, "inspect", str(files.path), "--unreadable")
    assert status == 1, "the second one's bytes are gone"
    assert (found[0]["head"], found[0]["file"]) == (bytes(range(64)).hex(), "00000002.seg")
    assert "No such file" in found[1]["error"]
    _, lines = shown(capsys, "inspect", str(files.path), "--unreadable", "--limit", "1")
    assert lines[0].startswith(f"00000002.seg of stream {stream.stream_id}, bytes 64 to 128: ")
    assert lines[1].startswith("  0001020304050607 08090a0b0c0d0e0f")
    assert len(lines) == 2


def test_damage_between_records_is_shown_in_its_place_and_status_1(
    files: JournalFiles, capsys: Capsys
) -> None:
    stream = files.stream().errors(3).end()
    flip(stream, 1)
    status, found, _ = told(capsys, "inspect", str(files.path))
    assert status == 1
    assert [each.get("sequence") for each in found] == [0, None, 2]
    assert found[1]["error"].endswith(": the checksum differs")
    status, lines = shown(capsys, "inspect", str(files.path))
    assert (status, len(lines)) == (1, 3)


def test_two_kinds_at_once_are_wrong_usage(files: JournalFiles, capsys: Capsys) -> None:
    assert told(capsys, "inspect", str(files.path), "--parked", "--quarantined")[0] == 2


def test_a_quarantine_events_own_topic_gets_another_name(files: JournalFiles, capsys: Capsys) -> None:
    from auditwire.events import QuarantineEvent

    files.stream().write(QuarantineEvent(quarantined_stream="x", topic="refusing"))
    _, (found,), _ = told(capsys, "inspect", str(files.path))
    assert (found["topic"], found["quarantined_topic"]) == ("audit.quarantine", "refusing")


def test_a_terminal_gets_a_header(
    files: JournalFiles, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setenv("TERM", "dumb")
    files.stream().errors(1)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(["journal", "inspect", str(files.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0].split()[0], lines[0].split()[-1]) == ("time", "detail")
    assert len(lines) == 3


def test_text_of_records_sends_nothing_to_the_terminal(files: JournalFiles, capsys: Capsys) -> None:
    files.stream().write(ErrorEvent(error_type="\x1b]0;title\x07", error_message="\x1b[2J"))
    _, lines = shown(capsys, "inspect", str(files.path))
    assert lines[0].isprintable()
