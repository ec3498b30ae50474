"""Digests of full texts: what proves later that a text is the one that a preview shows the beginning of.

In comes a rendered and redacted text, out comes ``sha256:<hex>`` or ``hmac-sha256:<key id>:<hex>``: SHA-256
(FIPS 180-4) or HMAC-SHA-256 (RFC 2104) of the text in UTF-8. Lone surrogates, which UTF-8 cannot express,
count as U+FFFD, as everywhere in the trail. Anybody can recompute it::

    "sha256:" + hashlib.sha256(text.encode()).hexdigest()

A plain hash of a short or guessable text (a name, a yes, an amount) can be found by trying; where previews
are cut or redacted to keep texts secret, use a :class:`DigestKey`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from auditwire.errors import ConfigurationError
from auditwire.jsonable import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CHUNK", "MIN_SECRET", "DigestKey", "digester"]

CHUNK = 1_048_576
"""Characters that are encoded at a time: a digest of a text of any size needs no second copy of it."""

MIN_SECRET = 16
"""Bytes that a key has at least; 32, the length of the hash, is what RFC 2104 recommends."""

_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class DigestKey:
    """A key for digests that cannot be found by trying likely texts. The secret is not shown by ``repr``.

    Args:
        key_id: Names the key in each digest, so that keys can be changed: 1 to 64 letters, digits, ``.``,
            ``_`` or ``-``.
        secret: At least 16 bytes, better 32: ``secrets.token_bytes(32)``.

    Raises:
        ConfigurationError: The id or the secret is not as said.
    """

    key_id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        key_id: object = self.key_id  # whatever the caller's types were
        secret: object = self.secret
        if not (isinstance(key_id, str) and _KEY_ID.fullmatch(key_id)):
            raise ConfigurationError(
                "digests", f"key id {self.key_id!r} is not 1 to 64 letters, digits, '.', '_' or '-'"
            )
        if not isinstance(secret, bytes) or len(secret) < MIN_SECRET:
            # the secret itself must not get into a log by way of the error
            raise ConfigurationError(
                "digests", f"the secret of key {self.key_id!r} is not {MIN_SECRET} or more bytes"
            )


def digester(
    digests: Literal["sha256"] | DigestKey | None, *, chunk: int = CHUNK
) -> Callable[[str], str] | None:
    """What makes a text's digest, or None where there shall be none. Thread-safe.

    Args:
        digests: ``"sha256"``, a :class:`DigestKey` or None.
        chunk: Characters to encode at a time, 2 or more.

    Raises:
        ConfigurationError: ``digests`` is none of these.
    """
    if digests is None:
        return None
    if isinstance(digests, DigestKey):
        prefix, secret = f"hmac-sha256:{digests.key_id}:", digests.secret

        def keyed(text: str) -> str:
            if len(text) <= chunk:
                return prefix + hmac.digest(secret, _utf8(text), "sha256").hex()
            mac = hmac.new(secret, digestmod="sha256")
            for part in _chunks(text, chunk):
                mac.update(part)
            return prefix + mac.hexdigest()

        return keyed
    if digests != "sha256":
        raise ConfigurationError("digests", f'{digests!r} is neither None, "sha256" nor a DigestKey')

    def plain(text: str) -> str:
        if len(text) <= chunk:
            return "sha256:" + hashlib.sha256(_utf8(text)).hexdigest()
        sha256 = hashlib.sha256()
        for part in _chunks(text, chunk):
            sha256.update(part)
        return "sha256:" + sha256.hexdigest()

    return plain


def _chunks(text: str, chunk: int) -> Iterator[bytes]:
    start = 0
    while start < len(text):
        end = start + chunk
        if "\ud800" <= text[end - 1 : end] <= "\udbff":
            end -= 1  # the first half of a pair of surrogates, which is one character, stays with the second
        yield _utf8(text[start:end])
        start = end


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return whole(text).encode()
