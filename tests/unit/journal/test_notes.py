from __future__ import annotations

from auditwire.journal.notes import Notes


def test_totals_hold_what_is_read_and_what_is_not() -> None:
    notes = Notes()
    assert not notes
    notes.lost("journal_full")
    notes.coerced("reason")
    notes.read()
    notes.lost("journal_full")
    notes.truncated("content_preview")
    assert notes
    assert notes.totals() == ({"journal_full": 2}, {"reason": 1}, {"content_preview": 1})
    notes.read()
    assert notes.totals() == ({"journal_full": 2}, {"reason": 1}, {"content_preview": 1})


def test_losses_are_added_up_by_reason_with_first_and_last_time() -> None:
    notes = Notes()
    for _ in range(3):
        notes.lost("journal_full")
    notes.lost("encoding")
    notes.read()
    full = notes.losses["journal_full"]
    assert (full.count, notes.losses["encoding"].count) == (3, 1)
    assert 0 < full.first <= full.last
    notes.losses.clear()
    assert not notes
    assert notes.totals()[0] == {"journal_full": 3, "encoding": 1}
