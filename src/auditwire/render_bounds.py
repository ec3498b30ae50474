"""The bounds of a rendering; what happens at each stands in :mod:`auditwire.render_text`."""

from __future__ import annotations

__all__ = ["MAX_CHARS", "MAX_DEPTH", "MAX_VALUES"]

MAX_VALUES = 10_000
"""Values in one object that are rendered: each item of a container is one, and so is each item in that."""

MAX_CHARS = 1_000_000
"""Characters that are rendered of one object that is no text, before JSON escapes them."""

MAX_DEPTH = 32
"""Containers in containers; as in :mod:`auditwire.jsonable`."""
