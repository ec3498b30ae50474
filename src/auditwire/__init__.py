"""What AI agents do, as an audit trail on Apache Kafka that can be checked for completeness."""

from auditwire._version import __version__

__all__ = ["__version__"]
