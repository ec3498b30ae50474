"""Writes the seeds of the corpus again: after a schema has changed, or a sample was added.

::

    PYTHONPATH=tests python tests/fuzz/seeds.py

A value that the fuzzer found is put beside them by hand, as ``found-<what it is>``, and stays.
"""

from __future__ import annotations

from pathlib import Path

from support.wire_samples import samples

CORPUS = Path(__file__).parent / "corpus"

if __name__ == "__main__":
    for old in CORPUS.iterdir():
        if not old.name.startswith("found-"):
            old.unlink()
    for name, value in samples().items():
        (CORPUS / name).write_bytes(value)
