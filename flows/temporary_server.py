"""The Prefect server of a hand-started run.

A child process that starts early, beside our own imports, and ends with us.

Prefect can start one itself, but only when the flow is called, and it would outlive a killed run.
Ours holds the read end of a pipe from its parent: when the parent ends, however it ends, the pipe
closes and the server stops.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

from flows.project import package_root, state_folder
from seam.errors import SeamError

START_UP_SECONDS = 120.0
_LIGHT = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
}


class ServerError(SeamError, RuntimeError):
    """The Prefect server cannot be reached or started."""


def prefect_server(root: Path) -> PrefectServer:
    """The server the user named (PREFECT_API_URL, or a Prefect profile), else a temporary one, still starting.

    A temporary one serves until this process ends: Prefect sends its last log lines and events at
    exit.
    """
    named = configured_url()
    if named:
        return PrefectServer(named, None, None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = state_folder(root) / "prefect_server.log"
    paths = (str(package_root()), os.environ.get("PYTHONPATH", ""))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.temporary_server", str(port)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_LIGHT, "PYTHONPATH": os.pathsep.join(p for p in paths if p)},
            start_new_session=True,  # Ctrl-C is ours: the flow still has to report its end
        )
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    return PrefectServer(os.environ["PREFECT_API_URL"], process, log)


class PrefectServer:
    """A server that answers, or will soon."""

    def __init__(self, url: str, process: subprocess.Popen[bytes] | None, log: Path | None) -> None:
        self.url = url
        self._process = process
        self._log = log

    def wait(self) -> None:
        """Return when the server answers.

        Raises:
            ServerError: it does not, or ended.
        """
        if self._process is None:
            if not answers(self.url, timeout=5):
                raise ServerError(
                    f"Prefect server at {self.url} does not answer; start it (`prefect server start`) or unset"
                    " PREFECT_API_URL."
                )
            return
        deadline = time.monotonic() + START_UP_SECONDS
        while not answers(self.url, timeout=2):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(
                    f"the temporary Prefect server did not start; see {self._log}, or set PREFECT_API_URL to a running"
                    " server."
                )
            time.sleep(0.1)


def configured_url() -> str | None:
    """PREFECT_API_URL, or that of the active profile in PREFECT_HOME (`prefect config set`).

    Read without importing Prefect.
    """
    if os.environ.get("PREFECT_API_URL"):
        return os.environ["PREFECT_API_URL"]
    try:
        profiles = tomllib.loads((Path(os.environ["PREFECT_HOME"]) / "profiles.toml").read_text())
    except (OSError, tomllib.TOMLDecodeError):
        return None
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active", "")
    url = profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")
    return str(url) if url else None


def answers(url: str, timeout: float) -> bool:
    """Whether a Prefect API at `url` is healthy."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=timeout) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, urllib.error.URLError):
        return False


def _end_with_parent() -> None:
    """Wait for the pipe to close, which it does when the parent ends; then stop, by force if need be."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    os._exit(1)


def _serve(port: int) -> None:
    """Body of the child process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
    )


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
