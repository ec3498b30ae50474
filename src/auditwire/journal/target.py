"""Where a stream's records are to go, and on which boot of the machine it was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Target", "boot_id", "same_boot"]

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id() -> str:
    """What tells this boot of the machine from any other; empty where the system has no such thing."""
    try:
        with open(_BOOT_ID, encoding="ascii") as file:  # noqa: PTH123 - one read of a text path
            return file.read().strip()
    except OSError:
        return ""


def same_boot(info: Mapping[str, Any]) -> bool:
    """Whether a stream was begun on this boot of the machine; False where that is not known.

    What a process had stored when it died is whole then: pages are lost with the machine only.

    Args:
        info: The stream's description.
    """
    before = info.get("boot_id")
    return bool(before) and before == boot_id()


@dataclass(frozen=True)
class Target:
    """Where a stream's records go. Streams of another target are left alone by adopters.

    Attributes:
        bootstrap: The brokers' addresses, sorted and joined by commas; empty for any cluster.
        prefix: The topics' prefix.
    """

    bootstrap: str
    prefix: str

    @classmethod
    def of(cls, bootstrap_servers: str, prefix: str) -> Target:
        """The target of a collector, from ``bootstrap.servers`` as the user wrote it."""
        servers = {server.strip().lower() for server in bootstrap_servers.split(",")}
        return cls(",".join(sorted(servers - {""})), prefix)

    @classmethod
    def from_info(cls, info: Mapping[str, Any] | None) -> Target | None:
        """The target that a stream's information names, or None when it names none."""
        target = (info or {}).get("target")
        if isinstance(target, dict):
            bootstrap, prefix = target.get("bootstrap"), target.get("prefix")
            if isinstance(bootstrap, str) and isinstance(prefix, str):
                return cls(bootstrap, prefix)
        return None

    def info(self) -> dict[str, str]:
        """As `from_info` reads it."""
        return {"bootstrap": self.bootstrap, "prefix": self.prefix}

    def accepts(self, other: Target) -> bool:
        """Whether a sender with this target may deliver the other's records."""
        same = self.bootstrap == other.bootstrap or "" in {self.bootstrap, other.bootstrap}
        return same and self.prefix == other.prefix
