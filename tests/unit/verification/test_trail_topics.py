from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auditwire.errors import ConfigurationError
from auditwire.verification import topics
from auditwire.verification.gathering import Source
from auditwire.verification.topics import ask

if TYPE_CHECKING:
    from auditwire.testing import EmbeddedBroker


def test_a_broker_that_does_not_answer_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_SECONDS", 0.3)
    told = ask(Source(bootstrap_servers="127.0.0.1:1", prefix="audit"), ["audit.error"])
    assert (told.cluster, told.ids, told.compacted) == (None, {}, [])
    (note,) = told.notes
    assert note.startswith("the topics' ids and settings are not known: ")


def test_an_embedded_broker_tells_its_id_and_is_asked_no_more(audit_broker: EmbeddedBroker) -> None:
    told = ask(Source(bootstrap_servers=audit_broker.bootstrap_servers, prefix="audit"), ["audit.error"])
    assert told.cluster is not None
    assert (told.ids, told.compacted, told.notes) == ({}, [], [])


def test_a_setting_that_is_refused_comes_out() -> None:
    with pytest.raises(ConfigurationError, match=r"enable\.auto\.commit"):
        ask(Source(bootstrap_servers="h:1", prefix="audit", config={"enable.auto.commit": True}), [])
