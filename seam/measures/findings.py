"""What a check-up found, and what follows from it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from seam.errors import Hint, SourceError, SuspectResultWarning


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    """In one line; where there is something wrong, with its cause and what to do."""
    verdict: Literal["ok", "doubt", "stop"] = "ok"
    """`stop`: nothing that follows can work."""
    hint: Hint | None = None
    """What is to be changed, where `found` does not say it."""


def judge(findings: Sequence[Finding], name: str) -> None:
    """Go on, or not.

    Args:
        findings: of a network.
        name: says which network it is.

    Raises:
        SourceError: the first finding that says stop.

    Warns:
        SuspectResultWarning: each that is doubtful.
    """
    for finding in findings:
        if finding.verdict == "doubt":
            warnings.warn(finding.found, SuspectResultWarning, stacklevel=2)
        if finding.verdict == "stop":
            raise SourceError(f"{name}: {finding.found}", hint=finding.hint)
