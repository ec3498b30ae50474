"""How far a replay is, kept in a file of JSON that is replaced whole.

========== ================================================================================================
member     meaning
========== ================================================================================================
format     ``auditwire replay state``
version    1
job        what is replayed from where to where; another job does not go on with this state
began_us   when its first run began, Unix microseconds: ``--since 2h`` counts from there in every run
position   the reader's position behind the last record that is safe; null before the first one
output     what is safe: of a file its ``bytes`` and the ``mark`` before their end, of a copy the records
           ``acknowledged``
tally      :class:`~auditwire.replaying.tally.Tally` of the records that are safe
runs       how many there were
crashes    how many of them did not end by themselves: what they wrote behind their last state stands twice in
           a copy (a file is cut back)
status     ``running``: a run is, or was when its process ended; ``ended``: it remembered everything before it
           ended; ``done``: everything is replayed
saved_us   when this was written, Unix microseconds
========== ================================================================================================
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from auditwire.errors import ConfigurationError
from auditwire.replaying.files import replace_json
from auditwire.replaying.tally import Tally, whole

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["State", "Status", "load_state", "save_state"]

Status = Literal["running", "ended", "done"]

_FORMAT, _VERSION = "auditwire replay state", 1


@dataclass(slots=True)
class State:
    """See the module."""

    job: dict[str, Any]
    began_us: int
    position: dict[str, Any] | None = None
    output: dict[str, Any] = field(default_factory=dict)
    tally: dict[str, Any] = field(default_factory=lambda: Tally().to_dict())
    runs: int = 0
    crashes: int = 0
    status: Status = "ended"
    saved_us: int = 0


def save_state(path: Path, state: State) -> None:
    """Replace the file.

    Raises:
        SinkError: It could not be written; the state before is as it was.
    """
    replace_json(path, {"format": _FORMAT, "version": _VERSION, **asdict(state)})


def load_state(path: Path) -> State | None:
    """The state that stands in the file; None when there is no file, or an empty one.

    Raises:
        ConfigurationError: The file cannot be read, or is no state.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("--resume", f"{path} cannot be read: {error}") from error
    if not text:
        return None
    try:
        return _state(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigurationError(
            "--resume",
            f"{path} is no state of auditwire replay ({type(error).__name__}: {error}): name another file, "
            "or remove it and what was written to begin anew",
        ) from error


def _state(content: Any) -> State:
    if (content["format"], content["version"]) != (_FORMAT, _VERSION):
        raise ValueError(f"{content['format']!r}, version {content['version']!r}")
    Tally.from_dict(content["tally"])
    position = content["position"]
    return State(
        job=dict(content["job"]),
        began_us=whole(content["began_us"]),
        position=None if position is None else dict(position),
        output=dict(content["output"]),
        tally=content["tally"],
        runs=whole(content["runs"]),
        crashes=whole(content["crashes"]),
        status=_status(content["status"]),
        saved_us=whole(content["saved_us"]),
    )


def _status(value: Any) -> Status:
    if value not in get_args(Status):
        raise ValueError(f"status {value!r}")
    status: Status = value
    return status
