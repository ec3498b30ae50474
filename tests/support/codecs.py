"""Tests that run on both codecs: import the fixture into a module, and all of its tests do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auditwire.wire import CODECS, use_codec

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["both_codecs"]


@pytest.fixture(scope="module", params=CODECS, autouse=True)
def both_codecs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs the module's tests once with each codec."""
    use_codec(request.param)
    yield
    use_codec(None)
