from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

pytest_plugins = ["pytester"]

TESTS = """
def test_events_are_captured(audit_events):
    audit_events.emitter.emit_error("E")
    assert audit_events.types == ["error"]


def test_each_test_begins_with_none(audit_events):
    assert len(audit_events) == 0


def test_events_go_to_the_broker_and_come_back(audit_broker):
    from auditwire import AuditEmitter, KafkaCollector, Reader

    with AuditEmitter(KafkaCollector(audit_broker.bootstrap_servers, create_topics=False)) as audit:
        audit.emit_error("E")
    with Reader(audit_broker.bootstrap_servers, types=["error"]) as reader:
        assert [record.event.error_type for record in reader] == ["E"]


def test_the_run_has_one_broker(audit_broker, request):
    assert audit_broker.running
    request.config.broker = audit_broker
"""

IDLE = """
import sys


def test_the_plug_in_is_loaded_and_nothing_behind_it():
    assert "auditwire.testing.plugin" in sys.modules
    assert "confluent_kafka" not in sys.modules
    assert "auditwire.testing.broker" not in sys.modules
"""

CONFTEST = """
def pytest_unconfigure(config):
    print("broker stopped:", not config.broker.running)
"""


def test_the_fixtures_work_in_a_run_of_their_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    pytester.makeconftest(CONFTEST)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["broker stopped: True"])


def test_a_run_that_asks_for_neither_fixture_imports_no_kafka_client(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(IDLE)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


def test_the_installed_entry_point_names_the_plug_in() -> None:
    from importlib.metadata import entry_points

    found = [point.value for point in entry_points(group="pytest11") if point.name == "auditwire"]
    assert set(found) == {"auditwire.testing.plugin"}


def test_loading_the_plug_in_costs_a_run_no_kafka_client_and_no_codec(tmp_path: Path) -> None:
    code = "import json, sys, auditwire.testing.plugin; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(done.stdout))
    assert loaded.isdisjoint({"confluent_kafka", "fastavro", "typer", "rich", "auditwire.testing.broker"})
