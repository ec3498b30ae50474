"""examples/forwarder and the guides that show it: what can be tried of them without systemd and a cluster."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from auditwire.cli.app import app, run
from auditwire.cli.journal_path import DAMAGED, NO_JOURNAL, OK, WAITING
from auditwire.journal.filesystem import REAL
from auditwire.journal.layout import JournalPath
from auditwire.reading import Reader
from auditwire.testing import EmbeddedBroker
from auditwire.verification import check_streams

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[3]
FORWARDER = ROOT / "examples" / "forwarder"
GUIDES = ROOT / "docs" / "guides"


def options(*command: str) -> set[str]:
    """Every spelling of every option of a command."""
    found: Any = typer.main.get_command(app)
    for name in command:
        found = found.commands[name]
    return {
        spelling for parameter in found.params for spelling in (*parameter.opts, *parameter.secondary_opts)
    }


def used(words: list[str]) -> set[str]:
    return {word for word in words if word.startswith("-")}


# -- systemd ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unit() -> dict[str, str]:
    text = (FORWARDER / "auditwire-forward.service").read_text(encoding="utf-8")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def test_the_unit_starts_the_forwarder_with_options_that_there_are(unit: dict[str, str]) -> None:
    program, command, path, *rest = shlex.split(unit["ExecStart"])
    assert (Path(program).name, command) == ("auditwire", "forward")
    assert unit["ReadWritePaths"] == unit["RequiresMountsFor"] == path
    assert used(rest) <= options("forward")


def test_the_unit_waits_for_longer_than_the_forwarder_takes_to_end(unit: dict[str, str]) -> None:
    words = shlex.split(unit["ExecStart"])
    assert float(unit["TimeoutStopSec"]) >= float(words[words.index("--timeout") + 1]) + 10
    assert (unit["Type"], unit["SuccessExitStatus"]) == ("notify", "3")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_has_nothing_to_complain_of(tmp_path: Path) -> None:
    text = (FORWARDER / "auditwire-forward.service").read_text(encoding="utf-8")
    copy = tmp_path / "auditwire-forward.service"
    copy.write_text(text.replace("/opt/auditwire/bin/auditwire ", "/bin/true "), encoding="utf-8")
    ended = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False, timeout=60
    )
    complaints = [line for line in ended.stderr.splitlines() if "auditwire-forward" in line]
    assert complaints == []


# -- the image ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image() -> str:
    return (FORWARDER / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_copies_what_there_is_and_starts_the_forwarder(image: str) -> None:
    copied = [
        line.split()[1:-1] for line in image.splitlines() if line.startswith("COPY") and "--from" not in line
    ]
    assert all((ROOT / name).exists() for names in copied for name in names)
    entry = re.search(r"^ENTRYPOINT \[(.*)\]$", image, re.MULTILINE)
    assert entry is not None
    _, command, *rest = (word.strip().strip('"') for word in entry[1].split(","))
    assert command == "forward"
    assert used(rest) <= options("forward")
    assert f"EXPOSE {rest[rest.index('--metrics') + 1].rpartition(':')[2]}\n" in image


# -- kubernetes ---------------------------------------------------------------------------------------------


def test_the_sidecar_has_a_disk_that_outlives_its_pod_and_probes_that_there_are(image: str) -> None:
    (stateful,) = yaml.safe_load_all((FORWARDER / "sidecar.yaml").read_text(encoding="utf-8"))
    assert stateful["kind"] == "StatefulSet"
    pod = stateful["spec"]["template"]["spec"]
    assert not any("emptyDir" in volume for volume in pod["volumes"])
    (disk,) = stateful["spec"]["volumeClaimTemplates"]
    assert disk["spec"]["accessModes"] == ["ReadWriteOncePod"]
    (forwarder,), (agent,) = pod["initContainers"], pod["containers"]
    assert forwarder["restartPolicy"] == "Always", "that makes it a sidecar"
    assert used(forwarder["args"]) <= options("forward")
    timeout = float(forwarder["args"][forwarder["args"].index("--timeout") + 1])
    assert pod["terminationGracePeriodSeconds"] >= timeout + 10
    for probe in ("startupProbe", "livenessProbe"):
        assert forwarder[probe]["httpGet"]["path"] == "/live"
    assert f"EXPOSE {forwarder['ports'][0]['containerPort']}\n" in image
    (path,) = re.findall(r"AUDITWIRE_JOURNAL=(\S+)", image)
    for container in (forwarder, agent):
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["journal"] == path
    assert {"name": "AUDITWIRE_JOURNAL", "value": path} in agent["env"]
    assert f"chown {forwarder['securityContext']['runAsUser']}:{pod['securityContext']['fsGroup']}" in image


# -- the guides ---------------------------------------------------------------------------------------------


def test_the_guide_lists_every_option_of_the_forwarder() -> None:
    rows = [line for line in (GUIDES / "forwarder.md").read_text().splitlines() if line.startswith("| `--")]
    listed = {name for row in rows for name in re.findall(r"(--[a-z-]+)", row.split("|")[1])}
    there = {name for name in options("forward") if name.startswith("--")} - {"--help", "--create-topics"}
    assert listed == there


@pytest.mark.parametrize("command", ["status", "inspect", "check", "drain"])
def test_every_command_of_the_guide_has_the_options_that_it_shows(command: str) -> None:
    text = (GUIDES / "journal.md").read_text()
    shown = re.findall(rf"auditwire journal {command} ([^`\n]*)", text)
    assert shown
    for words in shown:
        assert used(shlex.split(words)) <= options("journal", command)


def test_the_guide_explains_every_status() -> None:
    codes = {OK, WAITING, DAMAGED, NO_JOURNAL, 2}
    rows = re.findall(r"^\| ([0-9]) \|", (GUIDES / "journal.md").read_text(), re.MULTILINE)
    assert sorted(map(int, rows)) == sorted(codes)


def test_the_code_of_the_guides_works(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topics(prefix="audit", partitions=1)
        for page, path in (("journal.md", "/var/lib/agent/audit"), ("forwarder.md", "/var/lib/audit")):
            directory = tmp_path / page
            text = (GUIDES / page).read_text()
            (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
            code = code.replace(path, str(directory)).replace("localhost:9092", broker.bootstrap_servers)
            names: dict[str, Any] = {}
            exec(code, names)
            names["audit"].emit_error("E", page)
            names["audit"].close()
            assert run(["forward", str(directory), "-b", broker.bootstrap_servers, "--once"]) == 0
            assert JournalPath(REAL, str(directory)).streams() == []
        with Reader(broker.bootstrap_servers, follow=False) as reader:
            records = list(reader)
    errors = [record.event.to_dict() for record in records if record.event.event_type == "error"]
    assert sorted(event["error_message"] for event in errors) == ["forwarder.md", "journal.md"]
    assert {report.verdict for report in check_streams(records, settled=True)} == {"complete"}
