"""``auditwire replay --check``: a copy against its manifest."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from auditwire.cli.connection import connection
from auditwire.cli.output import Output, remark
from auditwire.cli.replay import target_connection
from auditwire.cli.replay_progress import ReplayBar
from auditwire.cli.replay_words import number

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_copy"]

OK, DIFFERENT, NOTHING = 0, 1, 4
_SHOWN = 20
"""Differences that are said on stderr; ``--json`` has all of them."""


def check_copy(
    path: Path,
    bootstrap: str | None,
    prefix: str,
    config: Path | None,
    to_bootstrap: str | None,
    to_prefix: str | None,
    to_config: Path | None,
    timeout: float,
    as_json: bool,
) -> int:
    """Read a copy, compare it with the manifest, and say what is not as it says.

    Args:
        path: The manifest.
        bootstrap: Where the copy is, unless ``to_bootstrap`` says; with the next ones.
        prefix: Used only to be checked.
        config: Properties, for ``bootstrap``.
        to_bootstrap: Where the copy is.
        to_prefix: The copy's prefix; the manifest's by default.
        to_config: Properties, for ``to_bootstrap``.
        timeout: Seconds that the broker may be silent.
        as_json: The result as a JSON object.

    Returns:
        The exit status.

    Raises:
        ConfigurationError: The file is no manifest, or no broker is named.
        BrokerError: The copy cannot be read.
    """
    from auditwire.reading import Reader  # noqa: PLC0415 - --help needs no codec
    from auditwire.replaying.manifest import Comparison, load_manifest  # noqa: PLC0415 - as above

    manifest = load_manifest(path)
    there = target_connection(
        connection(bootstrap or to_bootstrap, prefix, config),
        to_bootstrap,
        to_prefix or manifest.prefix,
        to_config,
    )
    output = Output(as_json=as_json)
    comparison = Comparison(manifest)
    with ExitStack() as stack:
        # what is older than the oldest record cannot be of the copy. No end: a copy that was written in
        # several parts need not be in the order of time
        reader = stack.enter_context(
            Reader(
                there.bootstrap,
                prefix=there.prefix,
                config=there.config,
                since=manifest.first_ms,
                timeout=timeout,
            )
        )
        bar = ReplayBar(stack, there.prefix, lambda: reader.progress, lambda: comparison.records)
        while not reader.finished:
            record = reader.poll(0.25)
            if record is not None:
                comparison.add(record)
            bar.show()
        undecodable = dict(reader.undecodable)
    differences = comparison.differences()
    nothing = not comparison.records
    status = NOTHING if nothing else DIFFERENT if differences else OK
    output.json(
        {
            "manifest": str(path),
            "bootstrap": there.bootstrap,
            "prefix": there.prefix,
            "status": status,
            "records": manifest.records,
            "streams": len(manifest.streams),
            "found": comparison.records,
            "others": comparison.others,
            "undecodable": undecodable,
            "differences": [difference.to_dict() for difference in differences],
        }
    )
    what = f"{number(manifest.records, 'record')} of {number(len(manifest.streams), 'stream')}"
    if nothing:
        remark(f"nothing of the {what} is on the topics {there.prefix}.* of {there.bootstrap}", style="red")
    elif differences:
        output.print(
            f"The copy is not as its manifest says: {number(len(differences), 'stream')} of "
            f"{len(manifest.streams):,} differ"
        )
        for difference in differences[:_SHOWN]:
            remark(difference.message, style="red")
        if len(differences) > _SHOWN:
            remark(
                f"... and {len(differences) - _SHOWN:,} more streams; --json names all of them", style="red"
            )
    else:
        output.print(f"The copy has the {what} of its manifest, each unchanged")
    if comparison.others:
        output.print(
            f"  {number(comparison.others, 'other record')} there, of which the manifest says nothing"
        )
    return status
