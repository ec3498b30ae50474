"""What it costs to be there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from benchmarks import idle, standing
from benchmarks.idle import Idle, Imported, Standing, report, slowest

from auditwire.testing import EmbeddedBroker

if TYPE_CHECKING:
    from pathlib import Path

FIGURES = Idle(
    imports=[
        {"python": Imported(10.0, 9.0), "import auditwire": Imported(40.0, 38.0)}
        | {"KafkaCollector": Imported(90.0, 85.0), "confluent_kafka": Imported(70.0, 66.0)}
    ],
    slowest=[("typing", 4_000)],
    standing=[{"producer": Standing(4, 30.0, 0.01), "collector": Standing(5, 38.5, 0.05)}],
    machine={"python": "3.11.7", "load_average": 0.1},
)


def test_imports_are_shown_above_the_bare_interpreter_and_a_collector_above_a_producer() -> None:
    text = report(FIGURES)
    assert "30.0 (30.0 to 30.0)" in text
    assert "8.5 (8.5 to 8.5)" in text
    assert "0.040 (0.040 to 0.040)" in text


def test_the_slowest_imports_are_those_with_the_most_time_of_their_own() -> None:
    told = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:       300 |        300 |   encodings.aliases\n"
        "import time:       900 |       1200 | encodings\n"
        "import time:       500 |        500 |     auditwire.errors\n"
    )
    assert slowest(told, 2) == [("encodings", 900), ("auditwire.errors", 500)]


def test_the_command_measures_imports_and_standing_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "idle.md"
    common = ["--rounds", "1", "--standing", "1", "--seconds", "0.1", "--markdown", str(table)]
    assert idle.main([*common, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (one,) = found["standing"]
    assert one["collector"]["threads"] > 1
    assert one["producer"]["resident_mib"] > 1
    assert found["imports"][0]["import auditwire"]["cpu_ms"] > 0
    assert any(name.startswith("auditwire") for name, _ in slowest(idle._import_times(), 1_000))
    assert "| KafkaCollector" in table.read_text(encoding="utf-8")


def test_a_standing_process_is_connected_and_tells_of_itself() -> None:
    with EmbeddedBroker() as embedded:
        told = standing.main("producer", embedded.bootstrap_servers, "audit", 0.01)
    assert told["threads"] > 1
    assert told["idle_percent"] >= 0


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--seconds", "0"], ["--top", "-1"]])
def test_the_command_refuses_what_it_cannot_do(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        idle.main(wrong)
    assert caught.value.code == 2


def test_an_import_that_fails_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(idle.IMPORTS, "wrong", "raise SystemExit(3)")
    with pytest.raises(RuntimeError, match="status 3"):
        idle._import("wrong")
