from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import auditwire
from auditwire import collectors, errors, events

LOADED = """
import sys, auditwire
import auditwire.collectors
auditwire.AuditEmitter(session_id="s").emit_turn_start(prompt="hello")
print(*sorted(name for name in sys.modules if name.split(".")[0] in {"confluent_kafka", "fastavro",
"asyncio"}))
"""


def test_all_are_the_public_names() -> None:
    loaded = {name: getattr(auditwire, name) for name in auditwire.__all__}  # also those that come late
    present = {
        name
        for name, value in vars(auditwire).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert present - {"TYPE_CHECKING", "Any", "annotations"} | {"__version__"} == set(loaded)
    assert len(loaded) == len(auditwire.__all__)


def test_every_public_name_can_be_had() -> None:
    for name in auditwire.__all__:
        assert getattr(auditwire, name) is not None, name
    for name in collectors.__all__:
        assert getattr(collectors, name) is getattr(auditwire, name), name


def test_every_error_and_event_is_public() -> None:
    assert set(errors.__all__) <= set(auditwire.__all__)
    assert {name for name in events.__all__ if name.endswith("Event")} <= set(auditwire.__all__)


def test_dir_shows_what_is_loaded_late() -> None:
    assert set(auditwire.__all__) <= set(dir(auditwire))
    assert set(collectors.__all__) <= set(dir(collectors))


@pytest.mark.parametrize("module", [auditwire, collectors], ids=["auditwire", "collectors"])
def test_an_unknown_name_is_an_attribute_error(module: object) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        module.no_such_name  # type: ignore[attr-defined]  # noqa: B018 - what is tested


def test_import_and_emit_load_no_kafka_client() -> None:
    run = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_every_module_of_the_core_declares_its_public_names() -> None:
    assert auditwire.__file__ is not None
    root = Path(auditwire.__file__).parent
    for path in [*root.glob("*.py"), *(root / "collectors").glob("*.py")]:
        if path.name == "_version.py":
            continue
        names = {
            target.id
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert "__all__" in names, path
