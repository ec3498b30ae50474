"""A file that is replaced whole: it holds what it held before or the new content, whatever happens."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from auditwire.errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["replace_json"]

_MODE = 0o600


def replace_json(path: Path, content: Mapping[str, Any], *, indent: int | None = None) -> None:
    """Replace the file at the path by a JSON object; it survives a power cut. Mode 0600.

    Raises:
        SinkError: It could not be written; what was there before is as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=indent)
                file.write("\n")
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
        raise SinkError(f"{path} could not be written: {error.strerror}") from error
