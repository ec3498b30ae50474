"""The Avro schemas on the site: in comes ``avro/``, out go its files and a page that lists them.

An mkdocs hook; mkdocs.yml names this file. ``docs/events.md`` links to ``../avro``, which is right where the
repository is browsed; on the site the schemas stand beside it.
"""  # noqa: INP001 - loaded by its path

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

AVRO = Path(__file__).parents[2] / "avro"


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the schemas, the fingerprints and the list."""
    for path in sorted(AVRO.rglob("*.*")):
        if path.suffix in {".avsc", ".json"}:
            name = f"avro/{path.relative_to(AVRO).as_posix()}"
            files.append(File.generated(config, name, abs_src_path=str(path)))
    files.append(File.generated(config, "avro/index.md", content=_index()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links into the repository's ``avro/`` to where it is on the site."""
    return (
        markdown.replace("](../avro/archive)", "](avro/index.md#earlier-versions)")
        .replace("](../avro/)", "](avro/index.md)")
        .replace("](../avro)", "](avro/index.md)")
        .replace("](../avro/", "](avro/")
    )


def _index() -> str:
    rows = ["# Schemas", "", "The Avro schema of each type, as it is installed with the package.", ""]
    rows += ["| schema | says |", "|-|-|"]
    for path in sorted(AVRO.glob("*.avsc")):
        says = " ".join(json.loads(path.read_text(encoding="utf-8")).get("doc", "").split())
        rows.append(f"| [{path.stem}]({path.name}) | {says} |".replace("\n", " "))
    rows += ["", "Their fingerprints: [fingerprints.json](fingerprints.json).", "", "## Earlier versions", ""]
    rows += [
        f"- [{path.relative_to(AVRO / 'archive').as_posix()}]({path.relative_to(AVRO).as_posix()})"
        for path in sorted((AVRO / "archive").rglob("*.avsc"))
    ]
    return "\n".join(rows) + "\n"
