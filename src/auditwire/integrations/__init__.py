"""Where auditwire meets other libraries: theirs come in, audit events or an emitter's numbers go out.

Each module is for one library, is imported only by who uses that library, and raises MissingExtraError with
the pip command where it is not installed.
"""

from __future__ import annotations

__all__: list[str] = []
