"""How long an emit takes, and how long until its record is acknowledged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from benchmarks import latency
from benchmarks.latency import Latencies, Times, acknowledging, emitting, paced, quantile, report
from benchmarks.variants.base import Job

from auditwire.testing import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as started:
        yield started


def job(embedded: EmbeddedBroker, variant: str, path: Path) -> Job:
    return Job(variant, embedded.bootstrap_servers, "audit", str(path), events=50, warm_up=4)


def test_quantiles_are_times_that_were_measured() -> None:
    ordered = [float(n) for n in range(1_000)]
    assert quantile(ordered, 0.5) == 500.0
    assert quantile(ordered, 0.999) == 999.0
    assert quantile([3.0], 0.99) == 3.0


def test_every_event_is_timed_at_any_rate() -> None:
    emitted: list[int] = []
    assert len(paced(emitted.append, 100_000, 20)) == 20
    assert len(paced(emitted.append, 0, 20)) == 20
    assert emitted == [1] * 40


@pytest.mark.parametrize("name", latency.EMITTING)
def test_an_emit_of_each_variant_is_timed(embedded: EmbeddedBroker, name: str, tmp_path: Path) -> None:
    times = emitting(job(embedded, name, tmp_path), 0)
    assert 0 < times.p50 <= times.p99 <= times.p999 <= times.most


@pytest.mark.parametrize("name", latency.ACKNOWLEDGED)
def test_an_acknowledgement_of_each_variant_is_timed(
    embedded: EmbeddedBroker, name: str, tmp_path: Path
) -> None:
    times = acknowledging(job(embedded, name, tmp_path), 2_000)
    assert 0 < times.p50 <= times.p99 <= times.p999 <= times.most


def test_the_tables_have_the_ratio_to_the_control_of_the_same_round() -> None:
    slow, quick = Times(20.0, 200.0, 400.0, 500.0), Times(10.0, 100.0, 200.0, 300.0)
    one = {f"emit {name} 2000": slow for name in latency.EMITTING} | {"emit control 2000": quick}
    one |= {f"ack {name} 2000": slow for name in latency.ACKNOWLEDGED}
    text = report(Latencies([one], [2_000], "a broker", {"load_average": 0.0}))
    line = next(line for line in text.splitlines() if line.startswith("| 2,000/s, memory"))
    assert [cell.strip() for cell in line.split("|")][2:6] == [
        "20.0",
        "200.0",
        "400.0",
        "2.00 (2.00 to 2.00)",
    ]


def test_the_command_runs_each_in_a_process_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "EMITTING", ("control", "memory"))
    monkeypatch.setattr(latency, "ACKNOWLEDGED", ("memory",))
    table = tmp_path / "latency.md"
    arguments = ["--rounds", "1", "--seconds", "0.05", "--rates", "2000", "--json", "--markdown", str(table)]
    assert latency.main(arguments) == 0
    assert "ack memory 2000" in json.loads(capsys.readouterr().out)["rounds"][0]
    assert "| 2,000/s, memory" in table.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "wrong", [["--rounds", "0"], ["--rates", "fast"], ["--rates", "-1"], ["--seconds", "0"]]
)
def test_the_command_refuses_what_it_cannot_do(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        latency.main(wrong)
    assert caught.value.code == 2
