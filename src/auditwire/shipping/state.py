"""How far a log is shipped, kept in a file of JSON that is replaced whole.

========== ================================================================================================
member     meaning
========== ================================================================================================
version    1
path       the log, as an absolute path
device,    of the file that was read last; after a rotation it is found by them
inode
offset     bytes of it whose events the broker has acknowledged
line       lines of it up to there
chain      hex; what :mod:`.identity` needs to go on
mark       ``length`` (up to 1,024) and ``sha256`` of the bytes before ``offset``: a file that does not have
           them there is another one
saved      when, ISO-8601
========== ================================================================================================
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from auditwire.errors import ConfigurationError, SinkError
from auditwire.events import iso_from_us

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MARK_BYTES", "Mark", "State", "load_state", "save_state"]

MARK_BYTES = 1024
_VERSION = 1
_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Mark:
    """The bytes before an offset.

    Attributes:
        length: How many.
        sha256: Their digest in hex.
    """

    length: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Mark:
        """The mark of these bytes."""
        return cls(len(data), sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)
class State:
    """See the module."""

    path: str
    device: int
    inode: int
    offset: int
    line: int
    chain: str
    mark: Mark


def save_state(path: Path, state: State, now_us: int) -> None:
    """Replace the file: it holds the state before or this one, whatever happens, and survives a power cut.

    Raises:
        SinkError: It could not be written; the one before is as it was.
    """
    content = {"version": _VERSION, **asdict(state), "saved": iso_from_us(now_us)}
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        try:
            with beside.open("w", encoding="utf-8") as file:
                file.write(json.dumps(content, indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise SinkError(f"the state could not be written to {path}: {error.strerror}") from error


def load_state(path: Path) -> State | None:
    """The state that stands in the file; None when there is no file.

    Raises:
        ConfigurationError: The file cannot be read, or is no state.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("--state", f"{path} cannot be read: {error}") from error
    try:
        return _state(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigurationError(
            "--state",
            f"{path} is no state of auditwire ship ({type(error).__name__}: {error}): name another file, or "
            "remove it to begin anew",
        ) from error


def _state(content: Any) -> State:
    if content["version"] != _VERSION:
        raise ValueError(f"version {content['version']!r}")
    numbers = {name: content[name] for name in ("device", "inode", "offset", "line")}
    length = content["mark"]["length"]
    for name, value in {**numbers, "mark.length": length}.items():
        if type(value) is not int or value < 0:
            raise ValueError(f"{name} is {value!r}")
    digests = (content["chain"], content["mark"]["sha256"])
    if any(len(bytes.fromhex(digest)) * 2 != _DIGITS for digest in digests) or length > MARK_BYTES:
        raise ValueError("a digest is no SHA-256")
    return State(path=str(content["path"]), chain=digests[0], mark=Mark(length, digests[1]), **numbers)
