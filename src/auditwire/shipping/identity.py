"""Event ids for lines that have none, the same whenever and from wherever the log is shipped.

A line is identified by **the content of its log from the beginning up to and including itself**::

    chain of line 0   SHA-256("auditwire.ship/1")
    chain of line n   SHA-256(chain of line n - 1 + the line)
    its event id      the first 16 bytes of that as a UUIDv8 (RFC 9562, section 5.8: version 8, variant 2)

Neither the file's name nor its inode is in it: renamed by a rotation, copied to another machine, compressed,
or piped in, the same log gives the same ids, and what has been appended since changes none of them. Two lines
have one id only when their logs are the same up to there. 32 bytes are all that has to be remembered to go on
in the middle.

A line counts without its line break and the white space and zero bytes around it, a byte order mark at the
log's beginning does not count, nor does an empty line; so that other line ends change nothing. Of a line that
is too long to be read, the first 4,096 bytes count.
"""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

__all__ = ["Chain", "derived_id"]

_SEED = sha256(b"auditwire.ship/1").digest()


class Chain:
    """What has been read of a log, as 32 bytes.

    Args:
        value: Where to go on; the beginning by default.

    Attributes:
        value: The chain of the last line.
    """

    __slots__ = ("value",)

    def __init__(self, value: bytes = _SEED) -> None:
        self.value = value

    def advance(self, line: bytes) -> bytes:
        """Take in the next line, stripped and not empty; its chain."""
        self.value = value = sha256(self.value + line).digest()
        return value


def derived_id(chain: bytes) -> str:
    """The event id of the line with this chain: 36 characters."""
    number = int.from_bytes(chain[:16], "big")
    number = number & ~(0xF << 76) | 8 << 76  # version
    number = number & ~(0b11 << 62) | 0b10 << 62  # variant
    return str(UUID(int=number))
