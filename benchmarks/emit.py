"""What an event costs on its way to Kafka, beside other ways: ``python -m benchmarks.emit`` (``make bench``).

::

    python -m benchmarks.emit [--rounds 15] [--events 20000] [--variants floor,memory,handwritten]
                              [--broker mock|rig | --bootstrap HOST:PORT]
                              [--json] [--markdown FILE] [--svg FILE] [--compare FILE]

Every round runs every variant once, each in a process of its own, beginning with another one each time, so
that a change of the machine's speed meets all of them. A ratio is taken within a round; printed are the
median of the rounds and their quartiles.

=========== =================================================================================================
CPU         microseconds an event of all threads of the process, from the first emit until the broker has
            acknowledged the last event; of both processes where another one delivers
caller's    microseconds an event of the emitting thread, until its last emit returned
events/s    until the last acknowledgement
peak, added the process's highest resident memory meanwhile, and what of it was not there before
=========== =================================================================================================

``--compare FILE`` takes a result that ``--json`` printed, and shows its ratios to the floor beside today's.
All librdkafka producers have the same settings, all records the same keys, headers and fields. The floor has
values and headers lying ready. A variant whose package is not installed is said to be missing:
``pip install -e '.[bench]'`` has all of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.pages import image, write
from benchmarks.process import Run, run_jobs
from benchmarks.result import Result
from benchmarks.rounds import broker, machine, progress, rounds
from benchmarks.tables import TITLE, bars, compared, markdown, short
from benchmarks.variants import NAMES, VARIANTS
from benchmarks.variants.base import Job
from benchmarks.variants.handwritten import record_of, value_of
from benchmarks.workload import EVENT_TYPES, own_fields, session_ids

LEAST_EVENTS = 100


def value_bytes() -> float:
    """Mean size of a record's value."""
    sizes = []
    for event_type in EVENT_TYPES:
        stream = session = session_ids(1)[0]
        record = record_of(session, event_type, own_fields(event_type, "0123456789ab"), stream, 100_000)
        sizes.append(len(value_of(event_type, record)))
    return sum(sizes) / len(sizes)


def measure(where: str, names: list[str], count: int, events: int) -> Result:
    """Run the rounds."""
    before = machine()
    with broker(where) as place:

        def one(name: str) -> Run:
            share = int(events * VARIANTS[name].share) // 4 * 4
            return run_jobs([Job(name, place.bootstrap, place.prefix, "", share)])[0]

        done, missing = rounds(count, names, one, progress)
        return Result(done, missing, before, place.title, events, value_bytes())


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.emit",
        description="What an event costs on its way to Kafka, beside other ways of bringing it there.",
        epilog="examples: python -m benchmarks.emit --rounds 3 --variants floor,memory,handwritten; "
        "python -m benchmarks.emit --json > before.json; python -m benchmarks.emit --compare before.json",
    )
    made.add_argument("--rounds", type=int, default=15, help="how many (default: 15)")
    made.add_argument(
        "--events", type=int, default=20_000, help="in a round, slow ones fewer (default: 20000)"
    )
    made.add_argument("--variants", help=f"with commas between (default: all of {','.join(NAMES)})")
    made.add_argument(
        "--broker",
        default="mock",
        metavar="mock|rig",
        help="mock: librdkafka's, in a process of its own (default); rig: the one that the tests would use",
    )
    made.add_argument("--bootstrap", metavar="HOST:PORT", help="a broker of yours; topics are made, and stay")
    made.add_argument("--json", action="store_true", help="print all figures as one JSON object")
    made.add_argument(
        "--markdown",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="put the tables into that page too, between its comments <!-- begin: emit --> and "
        "<!-- end: emit -->, or emit-short; may be given several times",
    )
    made.add_argument("--svg", type=Path, metavar="FILE", help="write the picture there")
    made.add_argument("--compare", type=Path, metavar="FILE", help="a result that --json printed")
    return made


def main(arguments: list[str] | None = None) -> int:
    """The command; see the module."""
    asked = parser()
    options = asked.parse_args(arguments)
    names = list(NAMES) if options.variants is None else options.variants.split(",")
    if unknown := [name for name in names if name not in VARIANTS]:
        asked.error(f"no variant {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if options.rounds < 1 or options.events < LEAST_EVENTS:
        asked.error(f"--rounds is 1 or more, --events {LEAST_EVENTS} or more")
    if options.broker not in ("mock", "rig"):
        asked.error("--broker is mock or rig; one of yours is named by --bootstrap")
    then = None
    if options.compare is not None:  # read first: a wrong file is found before ten minutes of measuring
        try:
            then = Result.from_json(options.compare.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            asked.error(f"--compare {options.compare}: {error}")
    result = measure(options.bootstrap or options.broker, names, options.rounds, options.events)
    if not result.names:
        sys.stderr.write("nothing could be measured: no variant's packages are installed\n")
        return 1
    text = markdown(result)
    for page in options.markdown:
        drawn = image(page, options.svg, TITLE)
        write(page, {"emit": drawn + text, "emit-short": drawn + short(result)})
    if options.svg is not None:
        options.svg.write_text(bars(result), encoding="utf-8")
    sys.stdout.write(result.to_json() + "\n" if options.json else text)
    if then is not None:
        (sys.stderr if options.json else sys.stdout).write("\n" + compared(result, then))
    return 0


if __name__ == "__main__":
    sys.exit(main())
