"""The consumer: has MLflow, onnx and ONNX Runtime, has never heard of this project."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.project.environment import tracking_uri
from tasks.project.stage import StageContext
from tasks.register_model import register_model

REPOSITORY = Path(__file__).resolve().parents[2]
CHAMPION = "models:/seam-zero@champion"
CONSUMER = f"""
import sys
import numpy as np
import mlflow
found = [m for m in ("torch", "seam", "tasks") if __import__("importlib").util.find_spec(m)]
assert not found, "not a clean environment"
model = mlflow.pyfunc.load_model("{CHAMPION}")
print(sorted(set(model.predict(np.zeros((5, 8, 8, 1), np.uint8))["class"])))
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def post(port: int, body: bytes) -> Any:
    address = f"http://127.0.0.1:{port}/invocations"
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def ask(port: int, images: np.ndarray) -> list[dict[str, object]]:
    predictions: list[dict[str, object]] = post(port, json.dumps({"inputs": images.tolist()}).encode())["predictions"]
    return predictions


SERVERS = {
    "mlflow": ["mlflow", "models", "serve", "-m", CHAMPION, "--env-manager", "local", "-w", "1"],
    "seam": ["tasks.serving", CHAMPION],
}
"""`python -m` what, for MLflow's own server and the one that `seam serve` becomes."""


@contextmanager
def serving(server: str, project: StageContext, log: Path) -> Iterator[int]:
    """The port at which a server answers for the champion."""
    port = free_port()
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": tracking_uri(project.root),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-m", *SERVERS[server], "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=log.parent, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        for _ in range(240):
            assert process.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.mark.parametrize("server", SERVERS)
def test_a_rest_request_is_answered_with_class_names(
    registry_project: StageContext, tmp_path: Path, server: str
) -> None:
    register_model(registry_project)
    with serving(server, registry_project, tmp_path / "serve.log") as port:
        answers = ask(port, np.zeros((3, 8, 8, 1), np.uint8))
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(port, np.zeros((3, 9, 9, 1), np.uint8))
    assert len(answers) == 3
    for answer in answers:
        assert answer["class"] in ("zero", "other")
        probabilities = answer["probabilities"]
        assert isinstance(probabilities, dict)
        assert set(probabilities) == {"zero", "other"}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert answer["probability"] == pytest.approx(max(probabilities.values()))
    assert refused.value.code == 400


def test_what_is_not_understood_is_one_line_in_answer_and_log(registry_project: StageContext, tmp_path: Path) -> None:
    register_model(registry_project)
    log = tmp_path / "serve.log"
    bodies = {b"[" * 100_000: 400, b" " * 20_000_000: 413, b'{"inputs": [[[[0.5]]]]}': 400}
    with serving("seam", registry_project, log) as port:
        for body, status in bodies.items():
            with pytest.raises(urllib.error.HTTPError) as refused:
                post(port, body)
            assert refused.value.code == status
            assert json.load(refused.value)["message"].startswith("expected ")
        assert ask(port, np.zeros((1, 8, 8, 1), np.uint8))
    lines = log.read_text().splitlines()
    assert sum(line.startswith("refused: expected ") for line in lines) == len(bodies)
    assert not any("Traceback" in line for line in lines)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_clean_environment_loads_and_predicts(registry_project: StageContext, tmp_path: Path) -> None:
    pinned = [
        line
        for line in (REPOSITORY / "requirements.txt").read_text().splitlines()
        if re.match(r"[A-Za-z0-9_.-]+==", line)
    ]
    wanted = [line for line in pinned if line.partition("==")[0] in ("mlflow", "onnx", "onnxruntime")]
    (tmp_path / "constraints.txt").write_text("\n".join(pinned) + "\n")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "-q",
        "--no-compile",
        "--disable-pip-version-check",
        "-c",
        str(tmp_path / "constraints.txt"),
        *wanted,
    ]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode != 0 and re.search(
        r"Failed to establish|No matching distribution|Temporary failure|Network is unreachable",
        done.stdout + done.stderr,
    ):
        pytest.skip("no package index is reachable")
    assert done.returncode == 0, done.stderr
    register_model(registry_project)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri(registry_project.root)}
    environment.pop("PYTHONPATH", None)
    answer = subprocess.run(
        [str(python), "-c", CONSUMER], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() in ("['zero']", "['other']", "['other', 'zero']")


def test_an_unreachable_server_is_one_line_within_seconds(registry_project: StageContext) -> None:
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tasks.register_model", "--problem", "zero"],
        cwd=registry_project.root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: MLflow server at http://127.0.0.1:")
    assert done.stderr.strip().splitlines()[-1].endswith("start it or unset MLFLOW_TRACKING_URI.")
    assert "Traceback" not in done.stderr
    assert not registry_project.folder("register_model").exists()
