from __future__ import annotations

from io import FileIO
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.verification import FactWriter, judge, runs
from auditwire.verification.layout import ROW, Names, key_of
from auditwire.verification.runs import Run, Runs, RunWriter, merged_claims, merged_rows, sequences_in
from support.stream_builder import STREAM, StreamBuilder

if TYPE_CHECKING:
    from pathlib import Path

OTHER = "01920000-0000-7000-8000-000000000002"


def row(sequence: int, offset: int = 0) -> bytes:
    return ROW.pack(sequence, bytes(32), bytes(8), bytes(8), 0, offset, 0)


def write(path: Path, streams: dict[str, tuple[list[bytes], list[bytes]]]) -> Path:
    writer = RunWriter(path)
    for stream_id, (rows, claims) in sorted(streams.items()):
        writer.write(key_of(stream_id), [sorted(rows)], sorted(claims))
    writer.close(Names({}, {}), sessions=False)
    return path


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3)), max_size=200), min_size=1, max_size=4
    ),
    st.sampled_from([1, 2, 50, 10_000]),
)
def test_rows_of_several_runs_come_in_order_whatever_is_read_at_a_time(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[tuple[int, int]]], at_a_time: int
) -> None:
    directory = tmp_path_factory.mktemp("runs")
    rows = [[row(*pair) for pair in part] for part in parts]
    paths = [write(directory / f"{n}.run", {STREAM: (part, [])}) for n, part in enumerate(rows)]
    with pytest.MonkeyPatch.context() as patch, Runs(paths) as all_runs:
        patch.setattr(runs, "_ROWS_READ", at_a_time)
        patch.setattr(runs, "_LEAST_ROWS", 1)
        pieces = list(merged_rows(all_runs.groups_of(key_of(STREAM))))
    assert all(pieces)
    assert [one for piece in pieces for one in piece] == sorted(one for part in rows for one in part)


@pytest.mark.parametrize("at_a_time", [1, 5, 9, 1 << 18])
def test_claims_of_several_runs_come_in_order_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr(runs, "_CLAIMS_READ", at_a_time)
    one, two = [b"a" * 20, b"c", b"c"], [b"b", b"c", b"d" * 1_000]
    paths = [write(tmp_path / f"{n}.run", {STREAM: ([], part)}) for n, part in enumerate((one, two))]
    with Runs(paths) as all_runs:
        found = list(merged_claims(all_runs.groups_of(key_of(STREAM))))
    assert found == [b"a" * 20, b"b", b"c", b"d" * 1_000]


def test_the_streams_of_several_runs_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "0.run", {OTHER: ([row(0)], [])}),
        write(tmp_path / "1.run", {STREAM: ([row(1)], []), OTHER: ([row(2)], [])}),
    ]
    with Runs(paths) as all_runs:
        found = [(key, [group.rows for group in groups]) for key, groups in all_runs.streams()]
    assert found == [(key_of(STREAM), [1]), (key_of(OTHER), [1, 1])]


def test_a_stream_is_found_by_the_index_and_one_that_is_not_there_is_not(tmp_path: Path) -> None:
    ids = [f"01920000-0000-7000-8000-{n:012d}" for n in range(1, 60, 2)]
    run = Run(write(tmp_path / "0.run", {name: ([row(n)], []) for n, name in enumerate(ids)}))
    for n, name in enumerate(ids):
        group = run.group(key_of(name))
        assert group is not None
        assert list(group.read_rows(10)) == [[row(n)]]
    for n in (0, 2, 30, 60, 99):
        assert run.group(key_of(f"01920000-0000-7000-8000-{n:012d}")) is None
    run.close()


@given(st.lists(st.integers(0, 60), min_size=1, max_size=60).map(sorted), st.integers(1, 60))
def test_the_sequences_of_rows_are_told_as_ranges(numbers: list[int], at_a_time: int) -> None:
    rows = [row(number) for number in numbers]
    pieces = [rows[i : i + at_a_time] for i in range(0, len(rows), at_a_time)]
    ranges = list(sequences_in(pieces))
    assert {n for first, last in ranges for n in range(first, last + 1)} == set(numbers)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(ranges))


def test_no_rows_have_no_sequences() -> None:
    assert list(sequences_in([])) == []


# -- damaged files ------------------------------------------------------------------------------------------


def a_run(directory: Path) -> Path:
    with FactWriter(directory) as writer:
        for record in StreamBuilder().turns(50).checkpoint().records:
            writer.add_record(record)
    (path,) = writer.close()
    return path


@pytest.mark.parametrize("length", [0, 7, 39, 40, 1_000])
def test_a_run_that_was_cut_off_is_refused(tmp_path: Path, length: int) -> None:
    path = a_run(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match="no run of facts, or is cut off"):
        list(judge([path]))


def test_one_bad_run_among_several_leaves_no_file_open(tmp_path: Path) -> None:
    good = a_run(tmp_path)
    bad = tmp_path / "bad.run"
    bad.write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="no run of facts"):
        list(judge([good, bad]))  # an open file would be a ResourceWarning, and that an error


def test_a_run_that_is_cut_off_while_it_is_read_is_an_error_and_no_report(tmp_path: Path) -> None:
    path = a_run(tmp_path)
    with Runs([path]) as all_runs:
        ((_, groups),) = all_runs.streams()
        path.write_bytes(b"")
        with pytest.raises(ValueError, match="cut off while it was read"):
            list(groups[0].read_rows(10))


def test_a_file_that_gives_less_than_it_was_asked_for_is_read_on(tmp_path: Path) -> None:
    class Grudging(FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 7))

    path = a_run(tmp_path)
    run = Run(path)
    run.close()
    run._file = Grudging(path)
    assert run.read(0, 100) == path.read_bytes()[:100]
    run.close()


def test_a_claim_that_goes_on_behind_its_stream_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "0.run", {STREAM: ([], [b"claim"])})
    data = bytearray(path.read_bytes())
    data[11] = 200  # its length
    path.write_bytes(bytes(data))
    with Runs([path]) as all_runs, pytest.raises(ValueError, match="goes on behind its stream"):
        list(merged_claims(all_runs.groups_of(key_of(STREAM))))
