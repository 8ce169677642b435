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


def quiet() -> None:
    """Switch every dependency's telemetry off, unless the user set the variable."""
    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)


def tracking_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI, or the SQLite store in the project's `mlflow/` folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow' / 'mlflow.db'}"
