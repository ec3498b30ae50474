"""Completion as a shell does it: the script that ``--install-completion`` writes, sourced by a real bash."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from auditwire.events import ALL_TYPES

if TYPE_CHECKING:
    from pathlib import Path

SHELLS = ("bash", "zsh", "fish")
ASK = """
source "$HOME/.bash_completions/auditwire.sh"
COMP_WORDS=({words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_auditwire_completion auditwire
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with ``bin/auditwire`` in it: this checkout's."""
    program = tmp_path / "bin" / "auditwire"
    program.parent.mkdir()
    start = f'exec {shlex.quote(sys.executable)} -c "from auditwire.cli import main; main()" "$@"'
    program.write_text(f"#!/bin/sh\n{start}\n", encoding="utf-8")
    program.chmod(0o755)
    return tmp_path


def run(home: Path, *command: str, **variables: str) -> str:
    environment = {
        "HOME": str(home),
        "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **variables,
    }
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=home
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_options_types_severities_and_fields(home: Path) -> None:
    # it looks which shell it was called by: "; true" keeps this one from becoming the command
    assert "bash completion installed" in run(home, "bash", "-c", "auditwire --install-completion; true")

    def ask(words: str) -> list[str]:
        return run(home, "bash", "-c", ASK.format(words=words)).split()

    assert ask("auditwire tail --type ''") == sorted(ALL_TYPES)
    assert ask("auditwire tail -t tool_call_") == [
        "tool_call_attempt",
        "tool_call_complete",
        "tool_call_failure",
    ]
    assert ask("auditwire tail --severity ''") == ["info", "warning", "error"]
    assert ask("auditwire tail --where tool_n") == ["tool_name"]
    assert ask("auditwire tail --sev") == ["--severity"]
    assert "tail" in ask("auditwire ''")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_each_shell_is_shown(home: Path, shell: str) -> None:
    no_look = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = run(home, "auditwire", "--show-completion", shell, **no_look)
    assert f"_AUDITWIRE_COMPLETE=complete_{shell}" in shown


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_the_types_too(home: Path, shell: str) -> None:
    said = run(
        home,
        "auditwire",
        _AUDITWIRE_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_ARGS="auditwire tail --type tool_loop",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert "tool_loop_block" in said
    assert "tool_loop_warning" in said
    assert "turn_start" not in said
