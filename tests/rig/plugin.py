"""The fixtures that give tests a broker, and the line at the end of the run that says which one it was.

    broker          shared by the whole run; a test keeps apart by `prefix`
    faulty_broker   a broker of the test's own, to be killed
    secure_broker   one with TLS, users and ACLs, shared by the module
    kafka_cluster   three brokers of the test's own
    prefix          unique per test, for topic names

`@pytest.mark.needs("create_topics", ...)` names what a test asks of the broker (rig.broker.CAPABILITIES);
where the tier lacks it the test is not run, and counted. Nothing is looked for or started unless a collected
test asks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from rig import tiers
from rig.broker import CAPABILITIES, Broker

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from rig.container import KafkaCluster
    from rig.secure import SecureKafka

# what a fixture asks for whoever uses it
FIXTURES: dict[str, frozenset[str]] = {
    "broker": frozenset(),
    "faulty_broker": frozenset({"faults"}),
    "secure_broker": frozenset({"acls"}),
    "kafka_cluster": frozenset({"cluster"}),
}
TALLY = "AUDITWIRE_TEST_TALLY"
"""Names a file in which the runs of one `make test` add up."""


@dataclass
class Run:
    """What one pytest run knows of its broker."""

    id: str = field(default_factory=lambda: f"test-{uuid4().hex[:8]}")
    asked: bool = False
    choice: tiers.Choice | None = None
    lacking: dict[str, frozenset[str]] = field(default_factory=dict)  # by the id of the test that is not run
    prefixes: int = 0

    def stop(self) -> None:
        if self.choice is None or self.choice.broker is None:
            return
        broker, self.choice.broker = self.choice.broker, None
        if isinstance(broker, tiers.ForeignBroker):
            broker.remove_topics(self.id)
        broker.stop()


RUN = pytest.StashKey[Run]()


def needs(item: pytest.Item) -> frozenset[str] | None:
    """The capabilities that a test asks for; None when it asks for no broker."""
    fixtures = FIXTURES.keys() & set(getattr(item, "fixturenames", ()))
    marks = [name for mark in item.iter_markers("needs") for name in mark.args]
    if unknown := set(marks) - CAPABILITIES.keys():
        raise pytest.UsageError(
            f"{item.nodeid}: needs({', '.join(sorted(unknown))}): it is {', '.join(CAPABILITIES)}"
        )
    if not fixtures and not marks:
        return None
    return frozenset(marks).union(*(FIXTURES[name] for name in fixtures))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("auditwire's test broker")
    group.addoption("--all-faults", action="store_true", help="also the faults that take long: `make chaos`")
    group.addoption("--fault-table", metavar="FILE", help="write the table of faults to FILE, as Markdown")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(capability, ...): what the test asks of the broker; see rig.broker"
    )
    run = config.stash[RUN] = Run()
    config.add_cleanup(run.stop)
    # a cancelled CI job ends as Ctrl-C does: fixtures are torn down, no broker is left behind
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[RUN].asked = any(needs(item) is not None for item in session.items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Before the first test, so that no test's time limit counts the building of an image."""
    run = session.config.stash[RUN]
    if not run.asked or session.config.option.collectonly or session.testsfailed:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")

    def say(text: str) -> None:
        if reporter is not None:
            reporter.write_line(f"broker: {text}")

    start = time.monotonic()
    run.choice = tiers.choose(say=say)
    say(f"{run.choice}, {time.monotonic() - start:.1f} s")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    wanted = needs(item)
    if wanted is None:
        return
    run = item.config.stash[RUN]
    assert run.choice is not None
    if run.choice.tier is None:
        pytest.fail(f"no broker: {run.choice}", pytrace=False)
    if lacking := wanted - run.choice.tier.capabilities:
        run.lacking[item.nodeid] = lacking
        pytest.skip(f"broker tier {run.choice.tier.name} has no {', '.join(sorted(lacking))}")


# -- fixtures --


@pytest.fixture(scope="session")
def tier(pytestconfig: pytest.Config) -> tiers.Tier:
    choice = pytestconfig.stash[RUN].choice
    assert choice is not None
    assert choice.tier is not None
    return choice.tier


@pytest.fixture(scope="session")
def broker(tier: tiers.Tier, pytestconfig: pytest.Config) -> Iterator[Broker]:
    run = pytestconfig.stash[RUN]
    assert run.choice is not None
    assert run.choice.broker is not None
    yield run.choice.broker
    run.stop()


@pytest.fixture
def faulty_broker(tier: tiers.Tier) -> Iterator[Broker]:
    with tier.broker() as own:
        yield own


@pytest.fixture(scope="module")
def secure_broker(tier: tiers.Tier, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    from rig import certs

    with tier.secure(certs.make(tmp_path_factory.mktemp("secrets"))) as own:
        yield own


@pytest.fixture
def kafka_cluster(tier: tiers.Tier) -> Iterator[KafkaCluster]:
    with tier.cluster() as own:
        yield own


@pytest.fixture
def prefix(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> str:
    run = pytestconfig.stash[RUN]
    run.prefixes += 1
    name = f"{run.id}-{run.prefixes}"
    if "broker" in request.fixturenames:
        broker = request.getfixturevalue("broker")
        if isinstance(broker, tiers.MockBroker):
            broker.create_topics(name)
    return name


# -- the end of the run --


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Generator[None]:
    """Outermost, so that nothing but pytest's closing line follows."""
    yield
    run = config.stash[RUN]
    stats = terminalreporter.stats
    terminalreporter.section("broker")
    terminalreporter.write_line(tier_line(run))
    skipped = [report for report in stats.get("skipped", ()) if report.nodeid not in run.lacking]
    if skipped:
        reasons = Counter(reason(report) for report in skipped).most_common()
        listed = "; ".join(f"{why}: {count}" for why, count in reasons)
        terminalreporter.write_line(f"skipped for other reasons: {len(skipped)} ({listed})")
    if path := os.environ.get(TALLY):
        counts = Counter(
            {name: len(stats.get(name, ())) for name in ("passed", "failed", "error", "skipped")}
        )
        terminalreporter.write_line(tally(Path(path), counts))


def tier_line(run: Run) -> str:
    if not run.asked:
        return "broker tier: none needed (no integration test was collected)"
    if run.choice is None:
        return "broker tier: none (the run ended before a broker was looked for)"
    line = f"broker tier: {run.choice}; not run: {len(run.lacking)}"
    if run.lacking:
        lacking = sorted(frozenset[str]().union(*run.lacking.values()))
        line += f" test{'s' if len(run.lacking) > 1 else ''} that need {', '.join(lacking)}"
    return line


def reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def tally(path: Path, counts: Counter[str]) -> str:
    """Adds this run's counts to the file and says what all of them come to."""
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text().splitlines():
            name, _, number = line.partition(" ")
            counts[name] += int(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name} {number}\n" for name, number in counts.items()))
    return "all runs: " + ", ".join(
        f"{number} {name}" for name, number in counts.items() if number or name == "failed"
    )
