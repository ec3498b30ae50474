"""The ways of reading a trail back that ``benchmarks.reading`` compares; each is a function in a module here.

In come ``host:port``, the topics' prefix and arguments of the variant's own, out comes how many records were
read. A module is imported by the process that measures it, before its time begins, and by no other: a package
that is not installed is found missing there, and is said to be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

__all__ = ["PEER", "SHOW", "VARIANTS", "Entry", "Read", "load"]

PEER = "peer"
SHOW = "show"

Read = Callable[[str, str, Sequence[str]], int]
"""``host:port``, prefix, arguments -> records; ``show`` returns the characters that it printed."""


@dataclass(frozen=True)
class Entry:
    """A variant.

    Attributes:
        where: ``module:function`` in this package.
        arguments: What the function gets besides the broker and the prefix.
    """

    where: str
    arguments: tuple[str, ...] = ()


VARIANTS = {
    PEER: Entry("consumer:to_dictionaries"),
    "AvroDeserializer": Entry("deserializer:to_dictionaries"),
    "pyruhvro": Entry("ruhvro:to_arrow"),
    "replay": Entry("ours:replay"),
    "replay to dicts": Entry("ours:replay_to_dicts"),
    "replay to Arrow": Entry("columns:replay_to_arrow"),
    "replay to Parquet": Entry("columns:replay_to_parquet"),
    "verify": Entry("ours:verify", ("1",)),
    "verify, 2 jobs": Entry("ours:verify", ("2",)),
    SHOW: Entry("ours:show"),
}


def load(name: str) -> Read:
    """The function of a variant.

    Raises:
        ModuleNotFoundError: It needs what is not installed; ``name`` says what.
    """
    module, _, function = VARIANTS[name].where.partition(":")
    found: Read = getattr(import_module(f"{__name__}.{module}"), function)
    return found
