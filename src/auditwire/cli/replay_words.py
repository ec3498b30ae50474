"""How counts read in the sentences of ``auditwire replay``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["counted", "number", "size"]

_KILO = 1_000


def number(count: int, noun: str) -> str:
    """``1,204 records``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def counted(counts: Mapping[str, int]) -> str:
    """``foreign 3, truncated 1``."""
    return ", ".join(f"{what} {count:,}" for what, count in sorted(counts.items()))


def size(count: int) -> str:
    """``4.2 MB``."""
    amount, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < _KILO:
            break
        amount, unit = amount / _KILO, larger
    return f"{count:,} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
