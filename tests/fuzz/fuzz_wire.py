"""Values that a machine makes up, for framing, decoder and envelope: ``make fuzz``.

Each value goes through :func:`support.wire_twins.checked`: nothing but DecodingError comes out, and the
generated decoder agrees with the interpreter. libFuzzer's own limits hold the rest: a value that takes 10 s,
64 MiB in one piece or 512 MiB in all is a finding. The code under test is instrumented, so that a value which
reaches new code is kept and changed further. Arguments are libFuzzer's
(https://llvm.org/docs/LibFuzzer.html#options).
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

with atheris.instrument_imports(include=["auditwire.wire"]):
    from auditwire.wire import all_schemas
    from auditwire.wire.codegen import readers_of

from support.wire_twins import checked

_LIMITS = ["-timeout=10", "-malloc_limit_mb=64", "-rss_limit_mb=512", "-max_len=65536"]


def one(value: bytes) -> None:
    """Everything that is promised of any value."""
    checked(value)
    if value[:1] == b"\x00":  # only the Confluent wire format looks at what the topic says
        checked(value, "turn_start")


def main() -> None:
    for schema in all_schemas():
        for function in readers_of(schema):
            atheris.instrument_func(function)
    atheris.Setup([sys.argv[0], *_LIMITS, *sys.argv[1:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
