"""The words that callers choose for what was decided: which of them mean no.

``action`` of a policy decision, ``decision`` of an approval and ``status`` of a completion are texts, because
frameworks have their own. What is not known here means nothing.
"""

from __future__ import annotations

__all__ = ["is_approval", "is_denial", "is_refusal"]

_DENIALS = frozenset({"deny", "denied", "block", "blocked", "forbid", "forbidden", "refuse", "refused"})
_REFUSALS = _DENIALS | {"reject", "rejected", "decline", "declined", "no", "false", "cancel", "cancelled"}
_APPROVALS = frozenset(
    {"approve", "approved", "allow", "allowed", "accept", "accepted", "grant", "granted", "yes", "true"}
)


def is_denial(word: str) -> bool:
    """Whether a policy said no."""
    return word.strip().lower() in _DENIALS


def is_refusal(word: str) -> bool:
    """Whether an approver said no."""
    return word.strip().lower() in _REFUSALS


def is_approval(word: str) -> bool:
    """Whether an approver said yes."""
    return word.strip().lower() in _APPROVALS
