from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.errors import ConfigurationError, SinkError
from auditwire.verification import state_file
from auditwire.verification.state import KnownPartition, KnownStream, State, Summary, Totals

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_700_000_000_000_000
A, B = (
    KnownStream("a", 5, b"a" * 32, closed=False, last_ms=50),
    KnownStream("b", 0, b"b" * 32, True, 7, "svc"),
)


def summary(stream_id: str, verdict: str = "complete", standing: str = "proven", **values: Any) -> Summary:
    """Of a stream of three records that took a second."""
    return Summary(
        **{
            "stream_id": stream_id,
            "verdict": verdict,
            "standing": standing,
            "sealed": "fault" if standing == "fault" else "proven",
            "apart": standing == "fault",
            "unsettled": False,
            "service": "svc",
            "records": 3,
            "duplicates": 2,
            "checkpoints": 1,
            "withheld": 0,
            "removed": 0,
            "first_ms": 1_000,
            "last_ms": 2_000,
            "report": f"report of {stream_id}",
            **values,
        }
    )


def opened(path: Path, prefix: str = "audit") -> State:
    return State(path, prefix=prefix)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state that knows two streams."""
    path = tmp_path / "state"
    with opened(path) as state:
        state.remember(A)
        state.remember(B)
        state.replace_partitions({("t", 0): KnownPartition("id", 9, 8, b"p" * 32)}, {"foreign": 3})
        state.carry("a", b"facts")
        state.keep(summary("a"), ["z"])
        state.keep(summary("b", "fault", "fault"), [])
        state.commit(NOW, judged_as="1.0", cluster="c1")
    return path


def everything(state: State) -> tuple[object, ...]:
    tables = ("streams", "partitions", "carried", "judged", "depends", "undecodable", "trail")
    return tuple(state._database.execute(f"SELECT * FROM {table}").fetchall() for table in tables)


def known(state: State) -> list[str]:
    """The streams of which each table has something."""
    tables = ("streams", "carried", "judged", "depends")
    return [
        "".join(stream_id for (stream_id,) in state._database.execute(f"SELECT stream_id FROM {table}"))
        for table in tables
    ]


def chosen(state: State) -> list[str]:
    return [stream_id for (stream_id,) in state._database.execute("SELECT stream_id FROM due")]


def test_a_new_state_knows_nothing_and_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with opened(path) as state:
        assert state.is_new
        assert (state.cluster, state.judged_as) == (None, None)
        assert everything(state) == (*[[]] * 6, [("audit", None, 0, None)])
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


def test_what_was_committed_is_there_again(path: Path) -> None:
    with opened(path) as state:
        assert not state.is_new
        assert (state.cluster, state.saved_us, state.judged_as) == ("c1", NOW, "1.0")
        assert [*state.streams()] == [A, B]
        assert state.partitions() == {("t", 0): KnownPartition("id", 9, 8, b"p" * 32)}
        assert state.undecodable() == {"foreign": 3}
        assert known(state) == ["ab", "a", "ab", "a"]
        assert (state.stream("b"), state.stream("c")) == (B, None)


def test_what_was_not_committed_is_forgotten(path: Path) -> None:
    with opened(path) as state:
        before = everything(state)
        state.remember(KnownStream("c", 1, b"c" * 32, False, 1))
        state.forget("a")
        state.begin_anew()
    with opened(path) as state:
        assert everything(state) == before


def test_a_stream_that_has_shrunk_is_remembered_as_it_was(path: Path) -> None:
    with opened(path) as state:
        state.remember(KnownStream("a", 3, b"x" * 32, False, 9))
        state.remember(KnownStream("a", 5, b"y" * 32, True, 9))
        assert [*state.streams()] == [A, B]


def test_a_stream_that_has_grown_is_remembered_anew_and_keeps_its_service(path: Path) -> None:
    grown = KnownStream("b", 8, b"x" * 32, False, 60)
    with opened(path) as state:
        state.remember(grown)
        assert [*state.streams()][1] == KnownStream("b", 8, b"x" * 32, True, 60, "svc")


def test_a_stream_at_fault_is_remembered_only_where_it_is_not_known(path: Path) -> None:
    new = KnownStream("c", 8, b"x" * 32, False, 60)
    with opened(path) as state:
        state.remember(KnownStream("a", 8, b"x" * 32, False, 60), unless_known=True)
        state.remember(new, unless_known=True)
        assert [*state.streams()] == [A, B, new]


def test_a_forgotten_stream_leaves_nothing(path: Path) -> None:
    with opened(path) as state:
        for stream in ("a", "b"):
            state.forget(stream)
        assert known(state) == ["", "", "", ""]


def test_beginning_anew_keeps_the_streams(path: Path) -> None:
    with opened(path) as state:
        state.begin_anew()
        assert (state.undecodable(), state.partitions()) == ({}, {})
        assert known(state) == ["ab", "", "", ""]


def test_what_is_carried_can_be_replaced_and_removed(path: Path) -> None:
    with opened(path) as state:
        state.select(None)
        state.carry("a", b"other")
        assert [*state.carried()] == [("a", b"other")]
        state.carry("a", None)
        assert [*state.carried()] == []


# -- which streams are judged again -------------------------------------------------------------------------


@pytest.fixture
def many(path: Path) -> Iterator[State]:
    """A state that knows ten more streams: c to e depend on each other, f is not settled, g is at fault."""
    with opened(path) as state:
        for name in "cdefghijkl":
            state.carry(name, name.encode())
        for name, depends in {"c": "dx", "d": "e", "e": ""}.items():
            state.keep(summary(name), depends)
        state.keep(
            summary("f", "open", "open", unsettled=True, first_ms=500, last_ms=-1, service="other"),
            "",
        )
        state.keep(summary("g", "fault", "fault"), "e")
        for name in "hijkl":
            state.keep(summary(name, "recovered", "open", service=None), "")
        yield state


@pytest.mark.parametrize(
    ("renewed", "expected"),
    [
        ([], "f"),
        (["h", "new"], "fhnew"),
        (["e"], "def"),
        (["x"], "cdefx"),
        (["c"], "cdefx"),
        (["g"], "f"),
        (None, "acdefhijkl"),
    ],
)
def test_those_are_chosen_of_which_there_are_new_facts_and_what_they_have_to_do_with(
    many: State, renewed: list[str] | None, expected: str
) -> None:
    many.select(renewed)
    assert "".join(chosen(many)) == "".join(sorted(chosen(many)))
    assert sorted("".join(chosen(many))) == sorted(expected)
    assert [name for name, _ in many.carried()] == [name for name in chosen(many) if name not in ("x", "new")]
    assert many.is_due("f")
    assert not many.is_due("g")


def test_streams_that_were_not_chosen_are_counted_by_verdict_and_standing(many: State) -> None:
    many.select(["h"])
    found = {(totals.verdict, totals.standing): totals for totals in many.totals(sealed=False)}
    assert found == {
        ("complete", "proven"): Totals("complete", "proven", 4, 12, 8, 4, 0, 0, None, None),
        ("recovered", "open"): Totals("recovered", "open", 4, 12, 8, 4, 0, 0, None, None),
    }
    assert {totals.standing for totals in many.totals(sealed=True)} == {"proven"}
    assert many.services() == {"svc"}


def test_the_oldest_and_the_most_silent_stream_are_among_the_open_ones_that_have_a_time(path: Path) -> None:
    with opened(path) as state:
        for name, first, last in (("c", 700, -1), ("d", 600, 900), ("e", -1, 800)):
            state.keep(summary(name, "open", "open", first_ms=first, last_ms=last), [])
        state.select([])
        open_ = next(totals for totals in state.totals(sealed=False) if totals.verdict == "open")
        assert (open_.streams, open_.oldest_ms, open_.silent_ms) == (3, 600, 800)


def test_reports_of_streams_that_were_not_chosen_are_told_in_order(many: State) -> None:
    many.select(["h"])
    assert [*many.reports(apart=False)] == [f"report of {name}" for name in "abcdegijkl"]
    assert [*many.reports(apart=True)] == [f"report of {name}" for name in "bg"]


def test_how_a_stream_was_judged_replaces_how_it_was_before(many: State) -> None:
    many.keep(summary("c", "open", "open"), ["y"])
    many.select(["x"])
    assert "c" not in chosen(many)
    assert next(totals for totals in many.totals(sealed=False) if totals.verdict == "open").streams == 1


def test_many_streams_are_told_in_order_while_those_passed_are_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path / "state") as state:
        names = [f"s{number:04}" for number in range(2_500)]
        for name in reversed(names):
            state.remember(KnownStream(name, 1, bytes(32), closed=False, last_ms=0))
        told = []
        for known in state.streams():
            told.append(known.stream_id)
            state.forget(known.stream_id)
        assert told == names
        assert [*state.streams()] == []


def test_streams_that_lack_what_it_takes_to_go_on_are_counted(path: Path) -> None:
    with opened(path) as state:
        assert state.uncarried() == 0  # of one at fault nothing is carried
        state.keep(summary("b"), [])
        assert state.uncarried() == 1
        state.carry("a", None)
        assert state.uncarried() == 2
        state.remember(KnownStream("c", 1, bytes(32), closed=False, last_ms=0))
        state.carry("c", b"facts")  # and how it was judged is not there
        assert state.uncarried() == 3


def test_a_cluster_that_is_not_told_does_not_replace_the_one_that_is_known(path: Path) -> None:
    with opened(path) as state:
        state.commit(NOW + 1, judged_as="2.0")
        assert (state.cluster, state.saved_us, state.judged_as) == ("c1", NOW + 1, "2.0")
    with opened(path) as state:
        assert (state.cluster, state.saved_us, state.judged_as) == ("c1", NOW + 1, "2.0")


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 2**63 - 1), st.booleans(), st.booleans()),
        max_size=12,
    )
)
def test_the_farthest_that_was_seen_is_remembered(seen: list[tuple[str, int, bool, bool]]) -> None:
    from tempfile import TemporaryDirectory

    model: dict[str, tuple[int, bool]] = {}
    with TemporaryDirectory() as directory, opened(Path(directory, "state")) as state:
        for name, last, closed, unless_known in seen:
            stream = KnownStream(name, last, last.to_bytes(32, "big"), closed, -1)
            state.remember(stream, unless_known=unless_known)
            known = model.get(name)
            if known is None:
                model[name] = last, closed
            elif last > known[0] and not unless_known:
                model[name] = last, closed or known[1]
        assert [(s.stream_id, s.last_sequence, s.closed) for s in state.streams()] == [
            (name, *model[name]) for name in sorted(model)
        ]
        assert all(s.digest == s.last_sequence.to_bytes(32, "big") for s in state.streams())


def test_a_partition_is_resumed_at_its_last_record_to_see_whether_it_is_still_the_same() -> None:
    assert KnownPartition(None, 9, 7, b"d" * 32).resume_at == 7
    assert KnownPartition(None, 9).resume_at == 9


# -- the format ---------------------------------------------------------------------------------------------


def test_the_tables_are_those_of_the_modules_description(path: Path) -> None:
    documented: dict[str, list[str]] = {}
    table = ""
    for name, column in re.findall(r"^(``\w+``|) +(\w+)  +\S", state_file.__doc__ or "", re.MULTILINE):
        table = name.strip("`") or table
        documented.setdefault(table, []).append(column)
    with closing(sqlite3.connect(path)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: [row[1] for row in database.execute(f"PRAGMA table_info({name})")] for name in names}
        numbers = [database.execute(f"PRAGMA {n}").fetchone()[0] for n in ("application_id", "user_version")]
    assert documented == found
    assert numbers == [0x41775653, 2]
    assert (0x41775653).to_bytes(4, "big") == b"AwVS"


# -- files that are refused, and left as they are -----------------------------------------------------------


def refused(path: Path, *, prefix: str = "audit") -> str:
    before = path.read_bytes()
    with pytest.raises(ConfigurationError) as caught:
        opened(path, prefix)
    assert path.read_bytes() == before
    assert str(caught.value).startswith(f"state: {path} ")
    return str(caught.value).removeprefix(f"state: {path} ")


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("do not lose this\n")
    assert refused(path) == "is no state of auditwire verify: name another file"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.touch()
    assert refused(path) == "is empty; remove it to begin anew"


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE streams (x)")
    assert refused(path) == "is a SQLite database, and no state of auditwire verify: name another file"


def test_a_state_of_another_version_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 1")
    assert refused(path) == "has version 1, and this auditwire reads version 2: name another file"


def test_a_state_of_another_trail_is_refused(path: Path) -> None:
    assert refused(path, prefix="other") == (
        "belongs to the trail audit, not to other: each has a state of its own"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM trail",
        "INSERT INTO trail VALUES ('audit', NULL, 1, NULL)",
        "UPDATE streams SET digest = x'00'",
        "UPDATE streams SET last_sequence = 'many'",
    ],
)
def test_rows_that_make_no_sense_are_refused(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()
    assert refused(path) == "is damaged (its rows make no sense)"


def test_a_state_without_its_tables_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE trail")
    assert refused(path).startswith("cannot be read (no such table: trail): ")


def test_a_state_that_was_cut_off_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for size in (20, 100, 4_096, len(whole) - 4_096):
        path.write_bytes(whole[:size])
        assert "remove it to begin anew" in refused(path) or "is damaged" in refused(path)


def test_pages_that_were_overwritten_are_refused_or_were_of_no_use(path: Path) -> None:
    whole = path.read_bytes()
    found = 0
    for at in range(4_096, len(whole), 4_096):
        path.write_bytes(whole[:at] + b"\xa5" * 4_096 + whole[at + 4_096 :])
        reason = refused(path)
        found += "damaged" in reason
    assert found == len(whole) // 4_096 - 1


def test_a_directory_is_no_state(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened: Is a directory"):
        opened(tmp_path)


def test_a_state_in_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"state: .*(cannot be opened: No such file|unable to open)"):
        opened(tmp_path / "none" / "state")


# -- two checks at once -------------------------------------------------------------------------------------


def test_two_checks_cannot_share_a_state(path: Path) -> None:
    with (
        opened(path),
        pytest.raises(ConfigurationError, match="is in use by another check: wait for its end"),
    ):
        opened(path)
    with opened(path) as state:
        assert [*state.streams()] == [A, B]


def test_a_check_that_is_killed_leaves_the_state_as_it_was_and_free(path: Path) -> None:
    script = (
        "import os, pathlib, sys\n"
        "from auditwire.verification.state import *\n"
        "state = State(pathlib.Path(sys.argv[1]), prefix='audit')\n"
        "for n in range(20_000):\n"
        "    state.remember(KnownStream(f's{n}', n, bytes(32), False, n))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False, timeout=60)
    assert done.returncode == -9
    with opened(path) as state:
        assert [*state.streams()] == [A, B]


def test_a_state_that_another_check_makes_at_the_same_time_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    real = Path.exists

    def not_yet(self: Path) -> bool:
        if self == path and not real(path):
            with monkeypatch.context() as patch:
                patch.setattr(Path, "exists", real)
                with opened(path) as other:
                    other.remember(A)
                    other.commit(NOW, judged_as="1.0")
            return False
        return real(self)

    monkeypatch.setattr(Path, "exists", not_yet)
    with opened(path) as state:
        assert [*state.streams()] == [A]
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


# -- a disk that is full ------------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_leaves_the_state_as_it_was(path: Path) -> None:
    with opened(path) as state:
        state._database.execute(f"PRAGMA max_page_count = {path.stat().st_size // 4_096 + 2}")
        with pytest.raises(SinkError, match=r"could not be written to .*state: .*full; it is as it was"):
            state.carry("a", bytes(100_000))
    with opened(path) as state:
        assert [*state.streams()] == [A, B]
