"""Process environment every entry point shares: nothing phones home, local stores live in the project."""

from __future__ import annotations

import os
from pathlib import Path

NO_TELEMETRY = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "NM_DISABLE_ANALYTICS": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
}

WAITING = {"GOMP_SPINCOUNT": "2000", "KMP_BLOCKTIME": "1"}
"""How OpenMP's threads wait for one another: some 0.1 ms busily, then asleep. By itself they wait busily for 10 ms and
more, and beside other work all cores wait for a thread that does not get its turn."""


def quiet() -> None:
    """Switch every dependency's telemetry off, and have threads wait asleep, unless the user set the variable.

    Before torch is imported: OpenMP reads it once.
    """
    waits_already = any(name in os.environ for name in ("OMP_WAIT_POLICY", *WAITING))
    for name, value in (NO_TELEMETRY if waits_already else NO_TELEMETRY | WAITING).items():
        os.environ.setdefault(name, value)


def tracking_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI, or the SQLite store in the project's `mlflow/` folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow' / 'mlflow.db'}"
