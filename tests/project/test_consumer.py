"""The consumer: has MLflow, onnx and ONNX Runtime, has never heard of this project."""

from __future__ import annotations

import json
import os
import re
import shutil
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
from tasks.provenance.keys import make_keys
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

(THREE_LINES,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/trust.md").read_text(), re.DOTALL)
THREE_LINES = THREE_LINES.replace("models:/seam-shirt@champion", CHAMPION).strip()


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


def test_three_lines_verify_and_refuse_what_was_changed(
    registry_project: StageContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len([line for line in THREE_LINES.splitlines() if line]) == 3
    monkeypatch.setenv("SEAM_KEYS", str(tmp_path / "keys"))
    shutil.copyfile(make_keys(registry_project.root).public, tmp_path / "signing.pub")
    register_model(registry_project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(registry_project.root))
    imported = 'import sys\nassert not {"torch", "seam", "tasks"} & set(sys.modules)'
    code = [sys.executable, "-c", f"{THREE_LINES}\n{imported}\nprint(path)"]
    done = subprocess.run(code, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (Path(done.stdout.strip()) / "serving_model.py").write_text("print('somebody else was here')\n")
    done = subprocess.run(code, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Hash mismatch for 'serving_model.py'" in done.stderr


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
def test_a_clean_environment_verifies_loads_and_predicts(
    registry_project: StageContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = [
        line
        for line in (REPOSITORY / "requirements.txt").read_text().splitlines()
        if re.match(r"[A-Za-z0-9_.-]+==", line)
    ]
    names = ("mlflow", "onnx", "onnxruntime", "model-signing", "pyopenssl")
    wanted = [line for line in pinned if line.partition("==")[0] in names]
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
    monkeypatch.setenv("SEAM_KEYS", str(tmp_path / "keys"))
    shutil.copyfile(make_keys(registry_project.root).public, tmp_path / "signing.pub")
    register_model(registry_project)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri(registry_project.root)}
    environment.pop("PYTHONPATH", None)
    code = [str(python), "-c", f"{THREE_LINES}\n{CONSUMER}"]
    answer = subprocess.run(code, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
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
