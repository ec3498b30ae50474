from __future__ import annotations

from typing import Any

from auditwire.events import ErrorEvent
from auditwire.shipping.trial import Trial


def test_events_are_encoded_and_what_would_be_changed_is_known() -> None:
    trial = Trial()
    number: Any = 7
    trial.emit(ErrorEvent(error_type=number))
    trial.emit(ErrorEvent(error_message="x" * 2_000_000))
    trial.flush(1.0)
    health = trial.health()
    assert (health.accepted, health.delivered, health.pending_records) == (2, 0, 0)
    assert health.coerced == {"error_type": 1}
    assert health.truncated == {"error_message": 1}
