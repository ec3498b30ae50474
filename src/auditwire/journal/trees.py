"""Small files that are read and replaced whole, and directories that are measured and removed whole."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditwire.journal.filesystem import FileSystem

__all__ = [
    "BLOCK",
    "LOCK_FILE",
    "SENDER_LOCK_FILE",
    "in_blocks",
    "json_text",
    "names",
    "read_json",
    "read_text",
    "remove_tree",
    "tree_size",
    "unlink",
    "write_text",
]

BLOCK = 4096
"""Sizes are counted in blocks of so many bytes, as file systems give them out."""
LOCK_FILE = "owner.lock"
SENDER_LOCK_FILE = "sender.lock"
"""Removed last, so that a directory that still has files can be locked by whoever removes them."""

_MAX_TEXT = 1 << 20  # more than this is none of our small files
_UNREADABLE = frozenset(
    {
        errno.EACCES,
        errno.EIO,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ENXIO,  # a socket
        errno.EPERM,
        errno.ESPIPE,  # a pipe
    }
)


def in_blocks(size: int) -> int:
    """The bytes that a file of this size takes of the disk."""
    return -(-size // BLOCK) * BLOCK


def names(fs: FileSystem, path: str) -> list[str]:
    """What is in a directory; nothing for one that is not there."""
    try:
        return fs.list(path)
    except FileNotFoundError:
        return []


def read_text(fs: FileSystem, path: str) -> str | None:
    """The text of a small file; None when there is none, or it is no such file or cannot be read.

    Raises:
        OSError: What has nothing to do with this file: no descriptors, no memory.
    """
    try:
        file = fs.open(path, writable=False)
        try:
            data = file.read(0, _MAX_TEXT + 1)
        finally:
            file.close()
    except OSError as error:
        if error.errno in _UNREADABLE:
            return None
        raise
    try:
        return data.decode() if len(data) <= _MAX_TEXT else None
    except UnicodeDecodeError:
        return None


def read_json(fs: FileSystem, path: str) -> dict[str, Any] | None:
    """The JSON object in a small file; None when there is none, or it is damaged."""
    try:
        value = json.loads(read_text(fs, path) or "")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def json_text(value: Mapping[str, Any]) -> str:
    """JSON for people: indented, in the order given."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_text(fs: FileSystem, path: str, text: str, mode: int, *, sync: bool = False) -> None:
    """Make or replace a small file in one step, by a file ``.new-<name>`` beside it.

    Args:
        fs: Where it is.
        path: The file. Nobody else may write it at the same time.
        text: What it will hold.
        mode: Its permissions.
        sync: Whether the text is to be on disk before it bears the name. The name itself is not synced.
    """
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.new-{name}"
    file = fs.open(temporary, create=True, mode=mode)
    try:
        try:
            file.truncate(0)  # a leftover's
            # of a lone surrogate, as in a name that the environment gave, an escape that JSON knows
            file.write(0, text.encode("utf-8", "backslashreplace"))
            if sync:
                file.sync()
        finally:
            file.close()
        fs.rename(temporary, path)
    except OSError:
        unlink(fs, temporary)
        raise


def unlink(fs: FileSystem, path: str) -> None:
    """Remove a file, unless it is gone."""
    try:
        fs.unlink(path)
    except FileNotFoundError:
        return


def remove_tree(fs: FileSystem, path: str) -> None:
    """Remove a directory with all that is in it, unless it is gone; several may do so at once.

    A directory that somebody else fills meanwhile stays.

    Raises:
        OSError: Something cannot be removed. The rest may be gone.
    """
    found = names(fs, path)
    for name in sorted(found, key=lambda name: (name == LOCK_FILE, name)):
        child = f"{path}/{name}"
        if fs.is_directory(child):
            remove_tree(fs, child)
        else:
            unlink(fs, child)
    try:
        fs.rmdir(path)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST}:
            raise


def tree_size(fs: FileSystem, path: str) -> int:
    """Bytes of all files below a directory, each in whole blocks. What vanishes meanwhile does not count."""
    total = 0
    for name in names(fs, path):
        child = f"{path}/{name}"
        try:
            total += tree_size(fs, child) if fs.is_directory(child) else in_blocks(fs.size(child))
        except (FileNotFoundError, NotADirectoryError):
            continue
    return total
