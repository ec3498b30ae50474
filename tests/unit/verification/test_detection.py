"""Everything in the table of detection, in a thousand random trials: as the table says, each time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from auditwire.verification import FactWriter, judge
from auditwire.verification.outcome import TrailReport
from support.detection import disagreement, table
from support.mutations import MUTATIONS, Mutation, honest_trail
from support.stored import ClientView

if TYPE_CHECKING:
    from auditwire.verification import StreamReport
    from support.stored import Stored

TRIALS = 1_000 // len(MUTATIONS) + 1
PAGE = Path(__file__).parents[3] / "docs" / "detection.md"


def checked(
    messages: list[Stored], directory: Path, known: list[StreamReport] | None = None
) -> tuple[list[StreamReport], TrailReport]:
    """A check of messages, with what a check before it remembers."""
    with FactWriter(directory, memory=1 << 14) as facts:
        for message in messages:
            facts.add_run((message.topic, message.partition), [ClientView(message)])
        for report in known or ():
            assert report.last_digest is not None
            facts.add_remembered(
                report.stream_id,
                report.last_sequence,
                bytes.fromhex(report.last_digest),
                report.last_timestamp_ms,
                closed=report.closed,
            )
        runs = facts.close()
    reports = list(judge(runs))
    for run in runs:
        run.unlink()
    outcome = TrailReport(prefix="audit")
    for report in reports:
        outcome.add(report)
    return reports, outcome


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name.replace(" ", "-"))
def test_what_is_done_to_a_trail_is_seen_as_the_table_says(mutation: Mutation, tmp_path: Path) -> None:
    for seed in range(TRIALS):
        rng = random.Random(f"{mutation.name} {seed}")
        trail = honest_trail(rng, linked=mutation.linked)
        before, honest = checked(trail.messages, tmp_path)
        assert honest.exit_status == 0, f"seed {seed}: the trail is not honest"
        after = mutation.apply(rng, trail)
        rng.shuffle(after)
        wrong = disagreement(mutation.alone, *checked(after, tmp_path))
        assert not wrong, f"seed {seed}, alone: {wrong}"
        if mutation.state is not None:
            wrong = disagreement(mutation.state, *checked(after, tmp_path, before))
            assert not wrong, f"seed {seed}, with the state of before: {wrong}"


def test_the_page_shows_the_table() -> None:
    assert table() in PAGE.read_text(encoding="utf-8")
