"""Trails in which producers and other streams say something: losses, withheld records, recovery, namings."""

from __future__ import annotations

from vector_cases import Base, expect, whole
from vector_messages import HUGE, A, B, C, Stream

from auditwire.events import LossEvent, RecoveryEvent
from auditwire.stream import pack_entry


def said_by_the_producer(base: Base) -> None:
    """Losses and withheld records."""
    case, m = base.trails.case, base.messages
    d = Stream(m, "loss").turns(1).add(LossEvent(count=3, reason="journal_full"))
    d.add(LossEvent(count=4, reason="journal_full")).close()
    lost = {**whole(d, declared_lost=7, duplicates=1), "verdict": "fault"}
    lost["faults"] = [["declared_loss", 2], ["declared_loss", 3]]
    case("declared losses, one of them twice on the broker", "21", [*d.names, d.names[2]], lost)
    q = Stream(m, "q").turns(3)
    q.quarantine(q[2]).close()
    withheld = {**whole(q, withheld=[2]), "verdict": "open", "records": 5}
    case("a withheld record", "22 43 44", q.without(2), withheld)
    case("a withheld record that is there all the same", "22", q.names, whole(q))
    o = Stream(m, "o").turns(3)
    p = Stream(m, "p", B).quarantine(o[2]).quarantine(o[3]).close()
    there = expect(A, "open", 2, to=1, sealed=-1, ack=0, withheld=[2, 3], unproven=[[0, 1]])
    case("records withheld by another stream", "22", o.names[:2] + p.names, there, whole(p))
    r = Stream(m, "r").turns(2)
    r.quarantine(r[1], quarantined_digest="00" * 32).close()
    wrong = {**whole(r, withheld=[1]), "verdict": "fault", "records": 4, "faults": [["quarantine", 1]]}
    case("a withheld record of which a checkpoint lists another digest", "23", r.without(1), wrong)
    s = Stream(m, "s").turns(1)
    s.quarantine(s[1], quarantined_sequence=-1).close()
    case("a withheld record with a negative sequence", "22", s.names, whole(s))
    t = Stream(m, "t").turns(2).checkpoint()
    t.quarantine(t[3]).close()
    there = {**whole(t, withheld=[3]), "verdict": "open", "records": 5, "sealed_to": -1}
    case("a withheld checkpoint", "14 22", t.without(3), {**there, "unproven": [[0, 2]]})
    behind = Stream(m, "behind", B).quarantine(base.a[2], quarantined_sequence=8).close()
    case(
        "a withheld record behind a closing checkpoint",
        "22",
        base.a.names + behind.names,
        base.of_a(faults=[("quarantine", 8)]),
        whole(behind),
    )
    forged = Stream(m, "forged", B).quarantine(base.a[2]).close()
    case(
        "a deleted record for which somebody says that it is withheld (a limit)",
        "22 44",
        base.a.without(2) + forged.names,
        base.of_a("open", 7, withheld=[2]),
        whole(forged),
    )


def recovered(base: Base) -> None:
    """Processes that were killed, machines that lost power."""
    case, f, w, m = base.trails.case, base.f, base.w, base.messages
    case("a killed process whose journal was delivered", "24 35 43 44", f.names + w.names)
    base.trails.out[-1]["streams"] = [base.of_f("recovered"), whole(w)]
    parts = Stream(m, "parts", B).adopt(f, (4, 5), (6, 8), last=8).close()
    case(
        "the statement in two parts",
        "24 25",
        f.names + parts.names,
        base.of_f("recovered", recoveries=2),
        whole(parts),
    )
    third = Stream(m, "third", C).adopt(f, (6, 8), last=8).close()
    case(
        "two adopters that agree, one record of theirs twice",
        "24 25",
        [*f.names, *w.names, *third.names, w.names[1]],
        base.of_f("recovered", recoveries=2),
        whole(w, duplicates=1),
        whole(third),
    )
    undelivered = base.of_f(records=7, to=6, awaited=[[7, 8]])
    case(
        "a journal that is not delivered to its end yet",
        "29 33",
        f.names[:7] + w.names,
        undelivered,
        whole(w),
    )
    missing = {"verdict": "fault", "awaited": [], "missing": [[7, 8]], "faults": [["missing", 7]]}
    case(
        "the same when nothing can be on its way",
        "29 33",
        f.names[:7] + w.names,
        {**undelivered, **missing},
        whole(w),
        settled=True,
    )
    nothing = expect(A, "open", 0, to=-1, sealed=-1, ack=0, awaited=[[0, 8]], recoveries=1, recovered_to=8)
    case("a stream of which nothing is there", "29 33", w.names, nothing, whole(w))
    empty = Stream(m, "none", B).adopt(f, last=-1).close()
    case("a journal that was empty", "24 43", empty.names, whole(empty))
    restarted = Stream(m, "boot", B).adopt(f, (4, 8), last=8, restarted=True).close()
    case(
        "a machine that was restarted",
        "43 44",
        f.names + restarted.names,
        base.of_f("recovered", machine_restarted=True),
        whole(restarted),
        status=3,
    )
    short = Stream(m, "short", B).adopt(f, (4, 6), last=6, restarted=True).close()
    behind = base.of_f(recovered_to=6, machine_restarted=True, unproven=[[7, 8]])
    case("the broker has more than the journal", "35 43", f.names + short.names, behind, whole(short))
    gone = {**behind, "records": 8, "unproven": [[8, 8]], "unaccounted": [[7, 7]]}
    case(
        "a number absent behind the journal's end",
        "31",
        f.without(7) + short.names,
        gone,
        whole(short),
        settled=True,
    )
    case(
        "the same while something may be on its way",
        "31 33",
        f.without(7) + short.names,
        {**gone, "unaccounted": [], "awaited": [[7, 7]]},
        whole(short),
    )


def damaged_journals(base: Base) -> None:
    """Bytes of a journal that could not be read."""
    case, f, m = base.trails.case, base.f, base.messages
    there = ["0:4096-8192"]
    hole = Stream(m, "hole", B).adopt(f, (4, 5), (7, 8), last=8, unreadable=there).close()
    unreadable = base.of_f("fault", 8, recoveries=2, unreadable=[[6, 6]], faults=[("unreadable", 6)])
    for settled in (False, True):
        case(
            "a record that neither the journal nor the broker has" + (", settled" if settled else ""),
            "32",
            f.without(6) + hole.names,
            unreadable,
            whole(hole),
            settled=settled,
        )
    first_ends = {f"{hole[2].topic}/{hole[2].partition}": hole[2].offset}
    case(
        "the same, the second part of the statement behind the first ends",
        "32 33 40",
        f.without(6) + hole.names,
        base.of_f(records=8, recoveries=2, awaited=[[6, 6]]),
        whole(hole),
        first_ends=first_ends,
    )
    case(
        "the same, settled all the same",
        "32 40",
        f.without(6) + hole.names,
        unreadable,
        whole(hole),
        first_ends=first_ends,
        settled=True,
    )
    case(
        "a record that the journal has not and the broker has",
        "32 35",
        f.names + hole.names,
        base.of_f(recoveries=2, unproven=[[6, 6]]),
        whole(hole),
    )
    second = Stream(m, "second", C).adopt(f, (4, 8), last=8).close()
    case(
        "a second adopter has what the first could not read",
        "32 33",
        f.without(6) + hole.names + second.names,
        base.of_f("fault", 8, recoveries=3, missing=[[6, 6]], faults=[("missing", 6)]),
        whole(hole),
        whole(second),
        settled=True,
    )
    three = Stream(m, "three", B).adopt(f, (4, 5), (6, 6), (7, 8), last=8)
    case(
        "a part of a statement that has not come yet is no damage",
        "32 33",
        f.without(6) + three.without(2),
        base.of_f(records=8, recoveries=2, awaited=[[6, 6]]),
        expect(B, "open", 3, to=3, sealed=-1, ack=0, awaited=[[2, 2]], unproven=[[0, 1], [3, 3]]),
    )
    bytes_only = Stream(m, "bytes", B).adopt(f, (4, 8), last=8, unreadable=there).close()
    case(
        "unreadable bytes, and no number absent",
        "43",
        f.names + bytes_only.names,
        base.of_f(),
        whole(bytes_only),
    )
    u = Stream(m, "u").turns(5)
    some = Stream(m, "some", B).adopt(f, (4, 5), last=8, unreadable=there).close()
    naming = Stream(m, "naming", C, previous=[f"{A}:10:{'00' * 32}"]).close()
    case(
        "numbers behind what was recovered and before what is named",
        "29 32 33",
        f.names[:6] + some.names + naming.names,
        base.of_f("fault", 6, to=5, unreadable=[[6, 8]], missing=[[9, 10]])
        | {"faults": [["missing", 9], ["unreadable", 6]]},
        whole(some),
        whole(naming),
        settled=True,
    )
    late = Stream(m, "late", B).adopt(u, (3, 5), last=5, unreadable=there).close()
    begun = expect(A, "open", 4, to=5, sealed=-1, ack=0, recoveries=1, recovered_to=5)
    begun |= {"awaited": [[1, 2]], "unproven": [[0, 0]]}
    case(
        "numbers absent before the statement begins",
        "32 33",
        u.without(1, 2) + late.names,
        begun,
        whole(late),
    )
    said = {"verdict": "fault", "awaited": [], "unreadable": [[1, 2]], "faults": [["unreadable", 1]]}
    case(
        "the same when nothing can be on its way",
        "32",
        u.without(1, 2) + late.names,
        {**begun, **said},
        whole(late),
        settled=True,
    )


def contradicted(base: Base) -> None:
    """Recovery records that are malformed, or that something contradicts."""
    case, f, a, w, m = base.trails.case, base.f, base.a, base.w, base.messages
    case(
        "a record that is not the one that the recovery record lists",
        "27",
        f.swapped(_6="f6-edited") + w.names,
        base.of_f("fault", faults=[("changed", 6)]),
        whole(w),
    )
    forged = Stream(m, "f-forged", opened=False)
    forged.names = f.swapped(_6="f6-edited")
    other = Stream(m, "other", C).adopt(forged, (4, 8), last=8).close()
    case(
        "two adopters that list different records",
        "25",
        f.names + w.names + other.names,
        base.of_f("fault", recoveries=2, faults=[("recovery", 6)]),
        whole(w),
        whole(other),
    )
    y = Stream(m, "y").turns(3).checkpoint(acknowledged=0)
    m.edited("y3-edited", "y3", prompt_preview="x")
    forged = Stream(m, "y-forged", opened=False)
    forged.names = y.swapped(_3="y3-edited")
    liar = Stream(m, "liar", B).adopt(forged, (3, 4), last=4).close()
    there = expect(A, "fault", 4, to=4, sealed=3, ack=0, recoveries=1, recovered_to=4)
    there |= {"awaited": [[3, 3]], "faults": [["recovery", 3]]}
    case("a recovery record against a checkpoint, about an absent record", "26", y.without(3) + liar.names)
    base.trails.out[-1] |= {"streams": [there, whole(liar)], "exit_status": 1}
    entry = pack_entry(0, bytes(32))
    both = Stream(m, "both", B).adopt(forged, (3, 4), last=4).quarantine(y[3]).close()
    there = {**there, "awaited": [], "withheld": [3]}
    case(
        "a recovery record against a checkpoint, about a withheld record",
        "22 26",
        y.without(3) + both.names,
        there,
        whole(both),
    )
    for number, (name, first, last, entries, at) in enumerate(
        (
            ("before record 0", -1, 5, [entry], 0),
            ("behind the last readable one", 5, 5, [entry] * 2, 5),
            ("with an entry that is none", 2, 5, ["!"], 2),
        )
    ):
        bad = Stream(m, f"bad{number}-", B)
        bad.add(
            RecoveryEvent(
                orphan_stream=A, first_sequence=first, last_sequence=last, entries=entries, types=["x:0"]
            )
        ).close()
        there = base.of_f(
            "fault", recoveries=0, recovered_to=-1, unproven=[[4, 8]], faults=[("recovery", at)]
        )
        case(f"a recovery record that lists records {name}", "24", f.names + bad.names, there, whole(bad))
    longer = Stream(m, "longer", B)
    longer.add(
        RecoveryEvent(orphan_stream=A, first_sequence=9, last_sequence=9, entries=[entry], types=["x:0"])
    ).close()
    there = base.of_a(recoveries=1, recovered_to=9, faults=[("recovery", 9)])
    case(
        "a journal that goes on behind the closing checkpoint",
        "28",
        a.names + longer.names,
        there,
        whole(longer),
    )
    far = Stream(m, "far-recovery", B)
    for first in (0, HUGE - 1):
        far.add(
            RecoveryEvent(
                orphan_stream=A, first_sequence=first, last_sequence=HUGE, entries=[entry], types=["x:0"]
            )
        )
    there = expect(A, "fault", 0, to=-1, sealed=-1, ack=0, recoveries=2, recovered_to=HUGE)
    there |= {"missing": [[0, 0], [HUGE - 1, HUGE]], "unreadable": [[1, HUGE - 2]]}
    there |= {"faults": [["missing", 0], ["missing", HUGE - 1], ["unreadable", 1]]}
    case("numbers in a statement that nobody could have written", "32 46", far.close().names)
    base.trails.out[-1] |= {"streams": [there, whole(far)], "exit_status": 1, "settled": True}


def named(base: Base) -> None:
    """Earlier streams that the opening checkpoint of a later one names."""
    case, a, f, m = base.trails.case, base.a, base.f, base.messages
    last = f"{A}:7:{a[7].digest.hex()}"
    b = Stream(m, "b", B, previous=[last]).close()
    case("a stream that a later one names", "20 43", a.names + b.names, whole(a), whole(b))
    absent = {**whole(b, absent_streams=[A]), "verdict": "open"}
    case("a whole stream deleted that a later one names", "19 43 44", b.names, absent)
    cut = expect(A, "open", 5, to=4, sealed=3, ack=4, awaited=[[5, 7]], unproven=[[4, 4]])
    missing = {"verdict": "fault", "awaited": [], "missing": [[5, 7]], "faults": [["missing", 5]]}
    gone = {**cut, **missing}
    case("a tail deleted that a later stream names", "20 29 33", a.names[:5] + b.names, gone, whole(b))
    first_ends = {f"{b[0].topic}/{b[0].partition}": b[0].offset}
    for settled, there in ((False, cut), (True, gone)):
        case(
            "the same, the naming behind the first ends" + (", settled" if settled else ""),
            "33 40",
            a.names[:5] + b.names,
            there,
            whole(b),
            first_ends=first_ends,
            settled=settled,
        )
    u = Stream(m, "lost").turns(5)
    late = Stream(m, "lost-by", B).adopt(u, (3, 5), last=5, unreadable=["0:4096-8192"]).close()
    after = Stream(m, "lost-after", C, previous=[f"{A}:5:{u[5].digest.hex()}"]).close()
    there = expect(A, "fault", 4, to=5, sealed=-1, ack=0, recoveries=1, recovered_to=5)
    there |= {"unreadable": [[1, 2]], "unproven": [[0, 0]], "faults": [["unreadable", 1]]}
    case(
        "numbers absent before a statement begins, of a stream that a later one names",
        "32 33",
        u.without(1, 2) + late.names + after.names,
        there,
        whole(late),
        whole(after),
    )
    wrong = Stream(m, "wrong", B, previous=[f"{A}:7:{'00' * 32}"]).close()
    case(
        "a last record that is not the named one",
        "20",
        a.names + wrong.names,
        base.of_a(faults=[("changed", 7)]),
        whole(wrong),
    )
    proof = Stream(m, "proof", B, previous=[f"{A}:8:{f[8].digest.hex()}"]).close()
    case(
        "a naming proves the record that it names",
        "20 35",
        f.names + proof.names,
        expect(A, "open", 9, to=8, sealed=3, ack=4, unproven=[[4, 7]]),
        whole(proof),
    )
    for number, (name, text) in enumerate(
        (
            ("no record", "x"),
            ("a negative sequence", f"{A}:-1:{'00' * 32}"),
            ("half a digest", f"{A}:1:{'00' * 16}"),
            ("a sequence of more than 63 bits", f"{A}:9223372036854775808:{'00' * 32}"),
        )
    ):
        bad = Stream(m, f"naming{number}-", B, previous=[text]).close()
        there = {**whole(bad), "verdict": "fault", "faults": [["chain", 0]]}
        case(f"an opening checkpoint that names {name}", "18", bad.names, there)
