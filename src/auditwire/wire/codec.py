"""Which of the two codecs a process uses: the generated one, or fastavro as its reference.

Both make the same bytes of the same events, and the same events of the same bytes. The reference is there to
be compared with, and to be switched to when a fault of the generated one is suspected; it costs several times
as much. What is chosen holds for the whole process, for encoding and decoding.

Either way :mod:`auditwire.wire.interpreter` reads what the codec does not vouch for, and says what is wrong
with malformed bytes.

============= ===========================================================================================
generated     code made from each schema; events of a schema that it cannot be made from go to fastavro
fastavro      the Avro library
============= ===========================================================================================
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Literal

from auditwire.errors import ConfigurationError
from auditwire.wire import codegen
from auditwire.wire.encoder import FastavroEncoder, ignore
from auditwire.wire.generated import GeneratedEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.wire.codegen import Readers
    from auditwire.wire.encoder import Encoder
    from auditwire.wire.schemas import Schema

__all__ = [
    "CODECS",
    "VARIABLE",
    "Codec",
    "current_codec",
    "new_encoder",
    "readers_of",
    "use_codec",
    "when_changed",
]

Codec = Literal["generated", "fastavro"]
CODECS: tuple[Codec, ...] = ("generated", "fastavro")

VARIABLE = "AUDITWIRE_CODEC"
"""The variable of the environment that chooses, where :func:`use_codec` does not."""


class _Choice:
    """What this process has chosen."""

    __slots__ = ("codec", "on_change")

    def __init__(self) -> None:
        self.codec: Codec | None = None
        self.on_change: list[Callable[[], object]] = []


_choice = _Choice()


def current_codec() -> Codec:
    """The codec that this process uses: the one of :func:`use_codec`, else of ``AUDITWIRE_CODEC``.

    Raises:
        ConfigurationError: The variable holds anything but ``generated`` or ``fastavro``.
    """
    if _choice.codec is None:
        _choice.codec = _checked(os.environ.get(VARIABLE) or "generated", VARIABLE)
    return _choice.codec


def use_codec(name: Codec | None) -> None:
    """Choose a codec for this process, before collectors are made: encoders that exist stay what they are.

    Called from any thread.

    Args:
        name: ``generated`` or ``fastavro``; None: as ``AUDITWIRE_CODEC`` says.

    Raises:
        ConfigurationError: It is neither.
    """
    _choice.codec = None if name is None else _checked(name, "codec")
    for forget in _choice.on_change:
        forget()


def when_changed(forget: Callable[[], object]) -> None:
    """Have this called whenever a codec is chosen: by what remembers functions of the one before."""
    _choice.on_change.append(forget)


def _checked(name: str, key: str) -> Codec:
    for codec in CODECS:
        if name == codec:
            return codec
    raise ConfigurationError(key, f"expected {' or '.join(CODECS)}, not {name!r}")


def new_encoder(
    on_coerced: Callable[[str], None] = ignore, on_truncated: Callable[[str], None] = ignore
) -> Encoder:
    """An encoder of this process's codec.

    Args:
        on_coerced: Called with the name of each field that was coerced, ``metadata`` for anything in it.
        on_truncated: Called with the name of each field that was cut, ``metadata`` for anything in it.

    The callbacks run on the thread that emits, before ``encode`` returns, and must not raise.

    Raises:
        ConfigurationError: As :func:`current_codec`.
    """
    made = GeneratedEncoder if current_codec() == "generated" else FastavroEncoder
    return made(on_coerced, on_truncated)


@cache
def readers_of(schema: Schema) -> Readers:
    """The functions that read records of the schema: this process's codec's."""
    if current_codec() == "generated":
        return codegen.readers_of(schema)
    from auditwire.wire import fastavro_decoder  # noqa: PLC0415 - loads the library, which is large

    return fastavro_decoder.readers_of(schema)


when_changed(readers_of.cache_clear)
