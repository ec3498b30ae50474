"""Settings from outside the program: ``AUDITWIRE_*`` variables, and a file of librdkafka's properties.

In come an environment and paths, out come checked values; what is wrong is a
:class:`~auditwire.errors.ConfigurationError` that names the variable or line and what it takes. What may be a
secret is never shown.

``SETTINGS`` is the one list of variables: :func:`auditwire.from_env` reads it, and the table of
``docs/guides/configure.md`` is :func:`settings_table`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal

__all__ = [
    "SETTINGS",
    "Setting",
    "is_secret",
    "read_properties",
    "read_setting",
    "redact",
    "settings_table",
    "unknown_variables",
]

_SECRET_WORDS = ("password", "secret", "jaas", "key.pem", "token", "credentials", "sasl.oauthbearer.config")


def is_secret(name: str) -> bool:
    """Whether the property of this name holds what must not be shown: a password, key or token."""
    return any(word in name.lower() for word in _SECRET_WORDS)


def redact(name: str, value: Any) -> Any:
    """The value as it may be shown: passwords, keys and tokens are not."""
    return "***" if is_secret(name) else value


def read_properties(path: Path, key: str) -> dict[str, str]:
    """Librdkafka's properties as they stand in a file, one ``key=value`` a line; ``#`` begins a comment line.

    Args:
        path: The file; UTF-8, with or without a byte order mark.
        key: The option or variable that named the file, for the error.

    Raises:
        ConfigurationError: The file cannot be read, or a line is wrong; file and line number are named, the
            line itself is not: it may hold a password.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigurationError(key, f"{path} cannot be read: {why}") from error
    found: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not name or any(character.isspace() for character in name):
            raise ConfigurationError(key, f"{path}, line {number}: expected key=value")
        if name in found:
            raise ConfigurationError(key, f"{path}, line {number}: {name} is set above already")
        found[name] = value
    return found


# -- the environment --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable of the environment. Set to nothing, it counts as not set, as in OpenTelemetry.

    Attributes:
        variable: Its name.
        takes: What takes the value: the ``"choice"`` of a collector, the ``"kafka"`` collector, or the
            ``"emitter"``.
        parameter: The name of the argument there.
        parse: Text -> value; a ValueError for what is not accepted.
        accepts: What is accepted, for people.
        default: What holds when it is not set, for people.
        meaning: What it does.
        fallback: A variable of somebody else's that is read when this one is not set.
    """

    variable: str
    takes: Literal["choice", "kafka", "emitter"]
    parameter: str
    parse: Callable[[str], Any]
    accepts: str
    default: str
    meaning: str
    fallback: str | None = None


_FLAGS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
_UNITS: dict[str, int] = {
    "": 1,
    "B": 1,
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMG", 1)},
    **{f"{letter}B": 1000**power for power, letter in enumerate(("k", "M", "G"), 1)},
}
_SIZE = re.compile(r"([0-9]+)\s*([A-Za-z]*)")


def _flag(text: str) -> bool:
    try:
        return _FLAGS[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def _word(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return parse


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):  # int() takes signs, underscores and other scripts' digits
        raise ValueError(text)
    return int(text)


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None or match[2] not in _UNITS:
        raise ValueError(text)
    return int(match[1]) * _UNITS[match[2]]


_FLAG = "`1`, `true`, `yes`, `on`; or `0`, `false`, `no`, `off`"

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "AUDITWIRE_DISABLED",
        "choice",
        "disabled",
        _flag,
        _FLAG,
        "`0`",
        "events go nowhere, and no other variable is looked at",
    ),
    Setting(
        "AUDITWIRE_COLLECTOR",
        "choice",
        "collector",
        _word("kafka", "jsonl", "journal", "memory", "null"),
        "`kafka`, `jsonl`, `journal`, `memory` or `null`",
        "`kafka`, `jsonl` or `journal`, whichever of the next four says where",
        "where events go; `memory` and `null` are for tests",
    ),
    Setting(
        "AUDITWIRE_BOOTSTRAP_SERVERS",
        "kafka",
        "bootstrap_servers",
        str,
        "`host:port`, several with commas",
        "`bootstrap.servers` of the file below",
        "the Kafka brokers to begin with",
    ),
    Setting(
        "AUDITWIRE_CONFIG",
        "kafka",
        "config",
        Path,
        "a path",
        "none",
        "file of librdkafka's properties, one `key=value` a line: TLS, SASL, ...",
    ),
    Setting(
        "AUDITWIRE_JSONL_PATH",
        "choice",
        "jsonl_path",
        str,
        "a path, or `-` for standard output",
        "none",
        "the file to which `jsonl` appends",
    ),
    Setting(
        "AUDITWIRE_JOURNAL",
        "kafka",
        "journal",
        str,
        "a path",
        "in memory",
        "directory of the journal on disk; without a broker, another process forwards what lies there",
    ),
    Setting(
        "AUDITWIRE_PREFIX",
        "kafka",
        "prefix",
        str,
        "letters, digits, `.` `_` `-`",
        "`audit`",
        "topics are `<prefix>.turn-start` ...",
    ),
    Setting(
        "AUDITWIRE_SERVICE",
        "kafka",
        "service",
        str,
        "text",
        "`OTEL_SERVICE_NAME`, else `unknown_service`",
        "the service's name, in checkpoints and headers",
        fallback="OTEL_SERVICE_NAME",
    ),
    Setting(
        "AUDITWIRE_SERVICE_VERSION",
        "kafka",
        "service_version",
        str,
        "text",
        "none",
        "its version, in checkpoints",
    ),
    Setting(
        "AUDITWIRE_ENVIRONMENT",
        "kafka",
        "environment",
        str,
        "text",
        "none",
        "the deployment environment, such as `production`, in checkpoints",
    ),
    Setting(
        "AUDITWIRE_CREATE_TOPICS",
        "kafka",
        "create_topics",
        _flag,
        _FLAG,
        "`1`",
        "whether missing topics are made",
    ),
    Setting(
        "AUDITWIRE_HEADERS",
        "kafka",
        "headers",
        _word("cloudevents", "none"),
        "`cloudevents` or `none`",
        "`cloudevents`",
        "the headers of each record",
    ),
    Setting(
        "AUDITWIRE_JOURNAL_BYTES",
        "kafka",
        "journal_bytes",
        _size,
        "a number of bytes, or with a unit: `64MiB`, `1GiB`, `500kB`; at least `2MiB`, on disk `8MiB`",
        "`64MiB`, on disk `1GiB`",
        "room for what waits for the broker",
    ),
    Setting(
        "AUDITWIRE_SYNC",
        "kafka",
        "sync",
        _word("interval", "always", "never"),
        "`interval`, `always` or `never`",
        "`interval`",
        "when the journal on disk is synchronised: every 200 ms, before an emit returns, or never",
    ),
    Setting(
        "AUDITWIRE_JOURNAL_GROUP",
        "kafka",
        "journal_group",
        str,
        "name or number of a group",
        "none",
        "who else may read and write the journal on disk",
    ),
    Setting(
        "AUDITWIRE_ON_FULL",
        "kafka",
        "on_full",
        _word("block", "drop_newest"),
        "`block` or `drop_newest`",
        "`block`",
        "what an emit does when there is no room",
    ),
    Setting(
        "AUDITWIRE_FULL_TIMEOUT",
        "kafka",
        "full_timeout",
        _seconds,
        "seconds, 0 or more",
        "`5.0`",
        "how long `block` waits, once until room comes back",
    ),
    Setting(
        "AUDITWIRE_EXIT_TIMEOUT",
        "kafka",
        "exit_timeout",
        _seconds,
        "seconds, 0 or more",
        "`10.0`",
        "how long the interpreter's exit may wait for what is not delivered",
    ),
    Setting(
        "AUDITWIRE_CODEC",
        "choice",
        "codec",
        _word("generated", "fastavro"),
        "`generated` or `fastavro`",
        "`generated`",
        "what encodes and decodes, in the whole process: code made from the schemas, or the Avro library, "
        "which costs several times as much and makes the same bytes",
    ),
    Setting(
        "AUDITWIRE_SESSION_ID",
        "emitter",
        "session_id",
        str,
        "text",
        "none",
        "filled in where an event names no session",
    ),
    Setting(
        "AUDITWIRE_AGENT_ID",
        "emitter",
        "agent_id",
        str,
        "text",
        "none",
        "filled in where an event names no agent",
    ),
    Setting(
        "AUDITWIRE_PRINCIPAL_ID",
        "emitter",
        "principal_id",
        str,
        "text",
        "none",
        "on whose behalf the agent acts",
    ),
    Setting(
        "AUDITWIRE_PRINCIPAL_TYPE",
        "emitter",
        "principal_type",
        _word("user", "service", "system"),
        "`user`, `service` or `system`",
        "none",
        "what kind of principal that is",
    ),
    Setting(
        "AUDITWIRE_TENANT_ID",
        "emitter",
        "tenant_id",
        str,
        "text",
        "none",
        "the tenant that the events belong to",
    ),
    Setting(
        "AUDITWIRE_ON_ERROR",
        "emitter",
        "on_error",
        _word("log", "raise"),
        "`log` or `raise`",
        "`log`",
        "what a refused event does to the agent",
    ),
    Setting(
        "AUDITWIRE_PREVIEW_CHARS",
        "emitter",
        "preview_chars",
        _count,
        "a whole number, 0 or more",
        "`200`",
        "characters of a prompt, argument or result that an event keeps",
    ),
    Setting(
        "AUDITWIRE_DIGESTS",
        "emitter",
        "digests",
        _word("sha256"),
        "`sha256`",
        "none",
        "whether events keep a digest of each full prompt, argument and result",
    ),
)
"""Every variable that :func:`auditwire.from_env` reads."""

_ELSEWHERE = ("AUDITWIRE_DEBUG", "AUDITWIRE_HEALTH_FILE", "AUDITWIRE_METRICS")
"""Read by the command line alone; the tests' own begin with ``AUDITWIRE_TEST_``."""


def read_setting(setting: Setting, environ: Mapping[str, str]) -> Any:
    """The value of one variable; None when it is not set, or set to nothing.

    Raises:
        ConfigurationError: It is none of what the variable takes.
    """
    text = environ.get(setting.variable, "").strip()
    if not text and setting.fallback is not None:
        text = environ.get(setting.fallback, "").strip()
    if not text:
        return None
    try:
        return setting.parse(text)
    except ValueError:
        accepted = setting.accepts.replace("`", "")
        raise ConfigurationError(setting.variable, f"{text!r} is not accepted; it takes {accepted}") from None


def unknown_variables(environ: Mapping[str, str]) -> dict[str, list[str]]:
    """Variables that begin with ``AUDITWIRE_`` and that nothing reads -> the names most like them."""
    known = [*(setting.variable for setting in SETTINGS), *_ELSEWHERE]
    return {
        name: get_close_matches(name, known, cutoff=0.75)
        for name in sorted(environ)
        if name.startswith("AUDITWIRE_") and name not in known and not name.startswith("AUDITWIRE_TEST_")
    }


def settings_table() -> str:
    """``SETTINGS`` as the Markdown table of the documentation."""
    rows = [(f"`{s.variable}`", s.accepts, s.default, s.meaning) for s in SETTINGS]
    lines = ["| variable | takes | when not set | |", "|-|-|-|-|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"
