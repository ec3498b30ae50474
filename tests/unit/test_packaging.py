"""What an installation holds: from the wheel and from a checkout, each in a fresh environment."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
AVRO = ROOT / "avro"

# Where the build backend is at hand nothing is fetched; else pip gets it, as when this one was installed.
BACKEND = ("hatchling", "editables")
BUILD = ["--no-build-isolation"] if all(map(importlib.util.find_spec, BACKEND)) else []


def run(*command: str | Path, **env: str) -> str:
    """Runs a command away from the checkout, and returns what it wrote."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV", "AUDITWIRE_"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd="/",
        env={**clean, **env},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Environment:
    """A fresh virtual environment that finds the dependencies, and no auditwire, in the running one."""

    def __init__(self, place: Path, *install: str | Path) -> None:
        venv.create(place, with_pip=True, symlinks=True)
        self.python = place / "bin" / "python"
        self.scripts = place / "bin"
        self.packages = Path(
            run(self.python, "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        )
        # folders named in a .pth file come after the environment's own, and their .pth files are not read
        paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (self.packages / "dependencies.pth").write_text("\n".join(paths) + "\n", "utf-8")
        run(self.python, "-m", "pip", "install", "-q", "--no-deps", *install)

    def ask(self, code: str) -> Any:
        """What the code prints as JSON."""
        return json.loads(run(self.python, "-I", "-c", f"import json, sys\n{code}"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *BUILD, "-w", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    return Environment(tmp_path_factory.mktemp("installed"), "--no-index", wheel)


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("editable"), *BUILD, "-e", ROOT)


@pytest.fixture(params=["installed", "editable"])
def environment(request: pytest.FixtureRequest) -> Environment:
    found: Environment = request.getfixturevalue(request.param)
    return found


def test_the_wheel_holds_the_schemas_as_they_are(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name.removeprefix("auditwire/avro/"): archive.read(name)
            for name in archive.namelist()
            if name.startswith("auditwire/avro/")
        }
    assert packed == {str(p.relative_to(AVRO)): p.read_bytes() for p in AVRO.rglob("*") if p.is_file()}


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith("auditwire/avro/")}
    source = ROOT / "src"
    kinds = {".py", ".typed", ".html", ".css", ".js"}  # py.typed, and what a session's page is made of
    wanted = {str(p.relative_to(source)) for p in source.rglob("*") if p.suffix in kinds}
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_schemas_are_found_where_they_were_installed(
    installed: Environment, editable: Environment
) -> None:
    code = """
import auditwire
from auditwire.wire import all_schemas, schema_for, schemas
schema = schema_for("turn_start")
print(json.dumps([auditwire.__file__, str(schemas._root()), schema.fingerprint.hex(), len(all_schemas())]))
"""
    prints = json.loads((AVRO / "fingerprints.json").read_text("utf-8"))
    crc64 = list(prints["turn_start"].values())[-1]["crc64"]
    package = installed.packages / "auditwire"
    assert installed.ask(code) == [str(package / "__init__.py"), str(package / "avro"), crc64, len(prints)]
    package = ROOT / "src" / "auditwire"
    assert editable.ask(code) == [str(package / "__init__.py"), str(AVRO), crc64, len(prints)]


def test_an_event_becomes_bytes_and_comes_back(environment: Environment) -> None:
    code = """
from auditwire import TurnStartEvent
from auditwire.wire import FastavroEncoder, decode, frame_single_object, join_body, schema_for
event = TurnStartEvent(prompt_preview="p")
head, tail = FastavroEncoder().encode(event, "stream")
value = frame_single_object(schema_for("turn_start").fingerprint, join_body(head, 0, tail))
print(json.dumps(decode(value).event == event))
"""
    assert environment.ask(code) is True


def test_the_import_loads_no_kafka_client_until_one_is_needed(environment: Environment) -> None:
    code = """
import auditwire
before = [name for name in sys.modules if name.partition(".")[0] == "confluent_kafka"]
auditwire.KafkaCollector
print(json.dumps([before, "confluent_kafka" in sys.modules]))
"""
    assert environment.ask(code) == [[], True]


def test_the_command_is_installed(environment: Environment) -> None:
    assert (environment.scripts / "auditwire").is_file()


def test_a_schema_that_is_missing_from_the_installation_is_named_with_the_remedy(
    installed: Environment,
) -> None:
    missing = installed.packages / "auditwire" / "avro" / "turn_end.avsc"
    text = missing.read_bytes()
    missing.unlink()
    try:
        message = installed.ask("""
from auditwire import SchemaError
from auditwire.wire import schema_for
schema_for("turn_start")
try:
    schema_for("turn_end")
except SchemaError as e:
    print(json.dumps(str(e)))
""")
    finally:
        missing.write_bytes(text)
    assert str(missing) in message
    assert "is missing" in message
    assert "pip install --force-reinstall auditwire" in message
