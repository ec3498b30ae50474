"""The variants do the job that is measured: the same events, acknowledged, each once."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
from benchmarks import emit, process
from benchmarks.process import measure, run_jobs
from benchmarks.result import Result
from benchmarks.variants import VARIANTS, load
from benchmarks.variants.base import PRODUCER, Job, NotDeliveredError, Variant
from benchmarks.workload import EVENT_TYPES, emit_events, own_fields, resident_mib, session_ids

from auditwire import AuditEmitter, InMemoryCollector
from auditwire.delivery.settings import DEFAULTS
from auditwire.testing import EmbeddedBroker
from auditwire.wire import schema_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as started:
        yield started


def job(embedded: EmbeddedBroker, variant: str, **settings: int) -> Job:
    return Job(variant, embedded.bootstrap_servers, "audit", "", 200, warm_up=8, **settings)


@pytest.mark.parametrize(
    "name", ["floor", "producer", "memory", "disk", "headerless", "blocks", "forwarder", "handwritten"]
)
def test_a_process_of_its_own_measures_a_variant(embedded: EmbeddedBroker, name: str) -> None:
    (run,) = run_jobs([job(embedded, name)])
    assert run.events == 200
    assert 0 < run.caller_us <= run.cpu_us
    assert run.per_s <= run.emitted_per_s
    assert run.peak_mib > run.added_mib >= 0
    assert (run.other_cpu_us > 0) == (name == "forwarder")


def test_threads_and_processes_write_their_share_each(embedded: EmbeddedBroker) -> None:
    runs = run_jobs([job(embedded, "memory", threads=2, sessions=3)] * 2)
    assert [run.events for run in runs] == [400, 400]


@pytest.mark.parametrize("package", ["faststream", "aiokafka", "pythonjsonlogger"])
def test_a_package_that_is_not_installed_is_said(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variant = {"faststream": "faststream", "aiokafka": "aiokafka", "pythonjsonlogger": "logging"}[package]
    module = VARIANTS[variant].where.partition(":")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"benchmarks.variants.{module}", raising=False)
    assert process.main(Job(variant, "127.0.0.1:1", "audit", "", 4)) == 0
    assert package in json.loads(capsys.readouterr().out)["missing"]


def test_a_variant_that_delivers_less_than_was_emitted_has_no_figures(tmp_path: Path) -> None:
    class Forgetful(Variant):
        def emit(self, count: int, thread: int = 0) -> None:
            pass

        def finish(self) -> None:
            pass

        def acknowledged(self) -> int:
            return self.job.events + self.job.warm_up - 1

    with pytest.raises(NotDeliveredError, match="407 of 408"):
        measure(Forgetful(Job("memory", "", "audit", str(tmp_path), 8)))


def test_a_process_that_fails_is_no_result(
    embedded: EmbeddedBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = Job("memory", embedded.bootstrap_servers, "audit", "", 8, threads=0)
    with pytest.raises(NotDeliveredError, match="ended with status 1"):
        run_jobs([wrong])
    assert "Traceback" in capfd.readouterr().err


def test_every_variant_can_be_loaded_or_names_what_it_needs() -> None:
    missing: list[str] = []
    for name in VARIANTS:
        try:
            assert issubclass(load(name), Variant)
        except ModuleNotFoundError as error:  # noqa: PERF203 - twelve times
            missing.append(error.name or "")
    assert not [name for name in missing if name.startswith(("benchmarks", "auditwire")) or not name]


def test_the_peers_ask_the_same_of_the_broker_as_our_producer() -> None:
    assert {key: DEFAULTS[key] for key in PRODUCER} == PRODUCER


@pytest.mark.parametrize("size", [None, 1_000, 100_000])
def test_peers_write_the_same_fields_as_our_emitter(size: int | None) -> None:
    memory = InMemoryCollector()
    audit = AuditEmitter(memory, session_id="s", agent_id="planner", preview_chars=size or 200)
    emit_events([audit], 4, size)
    for event in memory:
        told = event.to_dict()
        fields = own_fields(event.event_type, event.turn_id or "", size)
        assert fields == {name: told[name] for name in fields}
        own = {field.name for field in schema_for(event.event_type).tail}
        assert own == set(fields) - {"turn_id"}
    assert {event.event_type for event in memory} <= set(EVENT_TYPES)


def test_sessions_are_all_different_and_the_same_in_every_run() -> None:
    assert len(set(session_ids(1_000))) == 1_000
    assert session_ids(3) == session_ids(3)


def test_resident_memory_is_below_its_peak() -> None:
    now, peak = resident_mib()
    assert 0 < now <= peak


def test_the_command_prints_a_result_and_writes_table_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, picture = tmp_path / "table.md", tmp_path / "picture.svg"
    common = ["--rounds", "1", "--events", "100", "--variants", "floor,memory"]
    assert emit.main([*common, "--json", "--markdown", str(table), "--svg", str(picture)]) == 0
    result = Result.from_json(capsys.readouterr().out)
    assert result.names == ["floor", "memory"]
    assert "| auditwire, journal in memory" in table.read_text(encoding="utf-8")
    assert picture.read_text(encoding="utf-8").startswith("<svg")
    saved = tmp_path / "before.json"
    saved.write_text(json.dumps(asdict(result)), encoding="utf-8")
    assert emit.main([*common, "--compare", str(saved)]) == 0
    assert "now / then" in capsys.readouterr().out
