"""The version, in one place: the wheel, the headers of a stream and the CLI read it here."""

__version__ = "0.1.0"
