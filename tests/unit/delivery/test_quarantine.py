from __future__ import annotations

import errno

import pytest

from auditwire.delivery.framing import value_of
from auditwire.delivery.quarantine import keep_withheld
from auditwire.journal import Record
from auditwire.journal.layout import JournalPath
from auditwire.journal.withheld import withheld_records
from support.simulated_fs import SimulatedFileSystem

STREAM = "01a2084c-c3e5-7061-bb16-f33d4bf54187"
FOLDER = f"/journal/quarantine/{STREAM}"
RECORD = Record(7, "error", "audit.error", b"key", 1, "id", None, b"body", 100, b"12345678")
AT = 1_800_000_000_000_000


def keep(fs: SimulatedFileSystem) -> str:
    journal = JournalPath(fs, "/journal")
    return keep_withheld(journal, STREAM, RECORD, value_of(RECORD), "INVALID_RECORD", at_us=AT)


def test_what_is_kept_is_the_value_as_it_would_have_stood_on_the_topic_and_a_note() -> None:
    fs = SimulatedFileSystem()
    path = keep(fs)
    assert fs.content(path) == b"\xc3\x0112345678body"
    (found,) = withheld_records(JournalPath(fs, "/journal"))
    assert (found.stream_id, found.sequence, found.path) == (STREAM, 7, path)
    assert (found.event_type, found.topic, found.key) == ("error", "audit.error", "a2V5")
    assert (found.reason, found.size) == ("INVALID_RECORD", 4)
    assert found.digest == "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5"
    assert found.at == "2027-01-15T08:00:00+00:00"


def test_it_is_on_the_disk_on_return() -> None:
    fs = SimulatedFileSystem()
    path = keep(fs)
    assert fs.durable(path) == fs.content(path)
    assert fs.durable(f"{FOLDER}/7.json") == fs.content(f"{FOLDER}/7.json")


def test_what_is_kept_already_stays() -> None:
    fs = SimulatedFileSystem()
    keep(fs)
    before = len(fs.log)
    keep(fs)
    assert not [call for call in fs.log[before:] if "quarantine" in call[1]]


@pytest.mark.parametrize("operation", ["write", "sync", "rename", "truncate", "mkdir", "sync_directory"])
def test_what_cannot_be_kept_is_said_and_can_be_tried_again(operation: str) -> None:
    fs = SimulatedFileSystem()
    fs.fail(operation, errno.ENOSPC, "*quarantine*")
    with pytest.raises(OSError, match=r"No space|ENOSPC|28"):
        keep(fs)
    assert not [name for name in fs.files("/journal") if "/.new-" in name]
    assert fs.content(keep(fs)).endswith(b"body")
