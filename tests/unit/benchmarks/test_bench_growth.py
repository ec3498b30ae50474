"""How cost grows, and what it is made of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from benchmarks import parts, scaling
from benchmarks.parts import ALONE, PARTS, Parts, alone, split
from benchmarks.process import Run
from benchmarks.rounds import Place
from benchmarks.scaling import CELLS, MOST_BYTES, Point, Scaling, cells, report

if TYPE_CHECKING:
    from pathlib import Path

PLACE = Place("127.0.0.1:1", "a broker", "audit")


def a_run(events: int, cpu_us: float, per_s: float) -> Run:
    return Run(events, cpu_us, 0.0, cpu_us / 2, per_s, per_s, 50.0, 5.0)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.title)
def test_each_cell_writes_whole_turns_in_a_bounded_number_of_bytes(cell: scaling.Cell) -> None:
    jobs = cell.jobs("memory", PLACE, 20_000)
    assert len(jobs) == cell.processes
    total = sum(job.events * job.threads for job in jobs)
    assert all(job.events % 4 == 0 for job in jobs)
    assert total * (cell.size or 400) <= max(MOST_BYTES, 40_000 * 400)
    assert total >= 4 * cell.sessions  # every session gets a turn


def test_processes_add_up_their_rates_and_share_their_cost() -> None:
    point = Point.of([a_run(1_000, 10.0, 50_000.0), a_run(3_000, 14.0, 60_000.0)])
    assert point.per_s == 110_000.0
    assert point.cpu_us == 13.0


def test_the_tables_set_each_line_beside_the_first_and_beside_the_floor() -> None:
    one = {f"memory {cell.title}": Point(100_000.0 / cell.threads, 10.0, 4.0) for cell in cells(["threads"])}
    one |= {f"floor {cell.title}": Point(200_000.0, 5.0, 2.0) for cell in cells(["threads"])}
    text = report(Scaling([one], ["threads"], "a broker", {"load_average": 0.0}))
    line = next(line for line in text.splitlines() if line.startswith("| 4 threads"))
    assert [cell.strip() for cell in line.split("|")][2:6] == [
        "25,000",
        "0.25 (0.25 to 0.25)",
        "10.0",
        "2.00 (2.00 to 2.00)",
    ]


def test_the_command_measures_ours_and_the_floor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "scaling.md"
    arguments = [
        "--rounds",
        "1",
        "--events",
        "200",
        "--what",
        "processes",
        "--json",
        "--markdown",
        str(table),
    ]
    assert scaling.main(arguments) == 0
    assert set(json.loads(capsys.readouterr().out)["rounds"][0]) == {
        f"{variant} {title}" for variant in ("memory", "floor") for title in ("1 process", "2 processes")
    }
    assert "| 2 processes" in table.read_text(encoding="utf-8")


def test_the_parts_of_a_round_add_up_to_the_whole() -> None:
    taken = {"construction": 2.0, "encode": 2.0, "append": 0.5, "caller": 5.0, "digest": 0.5}
    found = split({**taken, "floor": 3.0, "memory": 11.0})
    assert tuple(found) == PARTS
    assert sum(found.values()) - found["whole"] == pytest.approx(found["whole"])
    assert found["caller, other"] == 0.5


@pytest.mark.parametrize("part", ALONE)
def test_each_part_can_be_measured_alone(part: str) -> None:
    assert alone(part, 40) > 0


def test_the_command_shows_each_part_and_its_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "parts.md"
    assert parts.main(["--rounds", "1", "--events", "100", "--json", "--markdown", str(table)]) == 0
    assert set(json.loads(capsys.readouterr().out)["rounds"][0]) == set(PARTS)
    assert "100%" in table.read_text(encoding="utf-8")


def test_shares_are_of_the_whole_of_the_same_round() -> None:
    one = dict.fromkeys(PARTS, 1.0) | {"whole": 4.0}
    two = {part: 2 * value for part, value in one.items()}
    text = parts.report(Parts([one, two], "a broker", {"load_average": 0.0}))
    assert text.count("| " + "25%".rjust(12) + " |") == len(PARTS) - 1


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--events", "0"]])
def test_the_commands_refuse_what_they_cannot_do(wrong: list[str]) -> None:
    for command in (parts.main, scaling.main):
        with pytest.raises(SystemExit) as caught:
            command(wrong)
        assert caught.value.code == 2


def test_a_table_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        scaling.main(["--what", "colours"])
    assert "no table colours" in capsys.readouterr().err
