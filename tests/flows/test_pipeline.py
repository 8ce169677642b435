"""The whole pipeline, for real, in a copy of the project.

Killed in four stages and resumed, against an undisturbed `dvc repro`.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image
from ruamel.yaml import YAML
from safetensors.torch import save_file

from seam.configs.inference import LatencyConfig
from seam.networks.build import build
from tasks.project.change_params import change_params
from tests.defaults import ROOT
from tests.flows.small_project import BIN, PROBLEM, call, environment, make_small_project, run

KILLS = {
    "search": f"artifacts/{PROBLEM}/search.partial/checkpoint.safetensors",
    "finetune": f"artifacts/{PROBLEM}/finetune.partial",
    "register_model": f"artifacts/{PROBLEM}/benchmark_latency",
}
"""Stage -> what is there as soon as it has begun, and not before."""
SAME_BY_EITHER_ROAD = (
    "validate_data/dataset.safetensors",
    "prepare_source/source.safetensors",
    f"{PROBLEM}/split_dataset/splits.safetensors",
    f"{PROBLEM}/search/mask.safetensors",
    f"{PROBLEM}/search/head.safetensors",
    f"{PROBLEM}/search/norms.safetensors",
    f"{PROBLEM}/search/history.csv",
    f"{PROBLEM}/finetune/reengineered_finetuned.safetensors",
    f"{PROBLEM}/finetune/standard_finetuned.safetensors",
    f"{PROBLEM}/evaluate/metrics.json",
    f"{PROBLEM}/evaluate_robustness/adversarial.safetensors",
    f"{PROBLEM}/evaluate_robustness/metrics.json",
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _kill_when(folder, marker):
    """Start `seam run`, and kill -9 it with all it started as soon as the file or folder `marker` appears."""
    with (folder / "killed.log").open("a") as log:
        process = subprocess.Popen(
            [BIN / "seam", "run"], cwd=folder, env=environment(), stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 300
        while not (folder / marker).exists():
            assert process.poll() is None, f"ended before {marker}: {(folder / 'killed.log').read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"{marker} never appeared"
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _digests(folder):
    return {
        name: hashlib.sha256((folder / "artifacts" / name).read_bytes()).hexdigest() for name in SAME_BY_EITHER_ROAD
    }


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """A project whose run was killed in four stages, then finished."""
    folder = make_small_project(tmp_path_factory.mktemp("resumed"))
    for marker in KILLS.values():
        _kill_when(folder, marker)
        for published in folder.glob("artifacts/**/metrics.json"):
            json.loads(published.read_text())  # whatever is published is whole
    done = run(folder, "seam", "run")
    return folder, done.stdout


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """A project run by `dvc repro`, undisturbed, and timed on the engines that a user has."""
    folder = make_small_project(tmp_path_factory.mktemp("reproduced"))
    change_params(folder / "params.yaml", [f"benchmark_latency.engines=[{','.join(LatencyConfig().engines)}]"])
    run(folder, "dvc", "repro", "-P")
    return folder


def test_killed_and_resumed_equals_undisturbed_by_the_other_road(resumed, reproduced):
    assert _digests(resumed[0]) == _digests(reproduced)


def test_nothing_half_made_is_left(resumed):
    assert not list((resumed[0] / "artifacts").rglob("*.partial"))
    assert not list((resumed[0] / "artifacts").rglob("*.tmp"))


def test_no_mlflow_run_is_left_running_and_one_version_is_registered(resumed, reproduced):
    for folder in (resumed[0], reproduced):
        client = MlflowClient(f"sqlite:///{folder}/mlflow/mlflow.db")
        experiment = client.get_experiment_by_name("seam")
        runs = client.search_runs([experiment.experiment_id])
        assert [r.info.status for r in runs] == ["FINISHED"]
        versions = client.search_model_versions(f"name='seam-{PROBLEM}'")
        assert len(versions) == 1
        assert versions[0].run_id == runs[0].info.run_id
        rounds = client.get_metric_history(runs[0].info.run_id, "search/history/density")
        in_history = (folder / "artifacts" / PROBLEM / "search" / "history.csv").read_text().strip().count("\n")
        assert sorted(m.step for m in rounds) == list(range(in_history))


def _locks(folder):
    return {path: path.read_bytes() for path in folder.rglob("dvc.lock")}


def test_after_seam_run_dvc_has_nothing_to_do(resumed):
    before = _locks(resumed[0])
    done = run(resumed[0], "dvc", "repro", "-P")
    assert "Running stage" not in done.stdout
    assert f"problems/{PROBLEM}/dvc.yaml:search" in done.stdout and _locks(resumed[0]) == before
    assert "up to date" in run(resumed[0], "dvc", "status").stdout


def test_after_dvc_repro_seam_run_recomputes_nothing(reproduced):
    stamps = {p: p.stat().st_mtime_ns for p in (reproduced / "artifacts").rglob("*") if p.is_file()}
    run(reproduced, "seam", "run")
    assert {p: p.stat().st_mtime_ns for p in (reproduced / "artifacts").rglob("*") if p.is_file()} == stamps


def test_every_figure_of_the_closing_summary_is_in_the_artifacts(resumed):
    folder, shown = resumed
    metrics = json.loads((folder / "artifacts" / PROBLEM / "evaluate" / "metrics.json").read_text())
    for model in ("source", "reengineered"):
        assert f"{100 * metrics[model]['accuracy']:.2f}" in shown or f"{100 * metrics[model]['accuracy']:.1f}" in shown
    assert "report.html" in shown
    assert f"seam-{PROBLEM}" in shown


def _readme_block(heading):
    """The first code block under a heading of the README."""
    block = (ROOT / "README.md").read_text().split(f"## {heading}\n")[1].split("```")[1]
    return block.split("\n", 1)[1].replace("\\\n", "")


def _shell(folder, commands):
    return call(folder, "bash", "-ec", commands).stdout


def test_the_readmes_commands_for_the_consumer(resumed):
    lines = _readme_block("For the consumer")
    assert "models:/seam-shirt@champion" in lines
    lines = lines.replace("seam-shirt", f"seam-{PROBLEM}")  # of this project
    program = "import numpy as np\nimages = np.zeros((3, 8, 8, 1), np.uint8)\n" + lines
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=resumed[0],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("class", "probability", "other"))


def test_the_readmes_commands_for_the_researcher(reproduced):
    (reproduced / ".venv" / "bin").mkdir(parents=True)
    (reproduced / ".venv" / "bin" / "activate").write_text(f'export PATH="{BIN}:$PATH"\n')
    shown = _shell(reproduced, _readme_block("For the researcher"))
    assert PROBLEM in shown
    assert (reproduced / "dvc_plots" / "index.html").is_file()
    assert "alpha: 2" in (reproduced / "params.yaml").read_text()
    lock = YAML(typ="safe").load((reproduced / "problems" / PROBLEM / "dvc.lock").read_text())["stages"]
    assert lock["search"]["params"]["params.yaml"]["search"]["alpha"] == 2


def test_status_and_report_name_what_is_there(resumed):
    folder = resumed[0]
    assert f"seam-{PROBLEM}" in run(folder, "seam", "status").stdout
    path = Path(run(folder, "seam", "report").stdout.strip().splitlines()[-1])
    assert (folder / path).is_file()


def _teach(network, images):
    """Train the user's network as the user would have, on images resized as `data.image_size=32` does."""
    x = torch.tensor(np.stack([pixels for pixels, _ in images])).permute(0, 3, 1, 2).float() / 255
    x = torch.nn.functional.interpolate((x - x.mean()) / x.std(), size=(36, 32))[:, :, 2:34]
    y = torch.tensor([number for _, number in images])
    optimizer = torch.optim.Adam(network.train().parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    network.eval()


def test_the_readmes_command_for_your_own_network_and_images(resumed):
    folder = resumed[0]
    rng = np.random.default_rng(0)
    bands = []
    for split, count in (("train", 30), ("test", 12)):
        for number, name in enumerate(("boot", "hat", "sandal", "sneaker")):
            (folder / "shop" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 60, (40, 36, 3))
                pixels[10 * number : 10 * number + 10] += 180
                Image.fromarray(pixels.astype(np.uint8)).save(folder / "shop" / split / name / f"{i}.png")
                bands.append((pixels, number))
    (folder / "shop_net.py").write_text(
        "from torch import nn\n\n\ndef shop_net(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(),\n"
        "                         nn.AvgPool2d((3, 15)), nn.Flatten(), nn.Linear(80, num_classes))\n"
    )
    torch.manual_seed(0)
    network = build(f"{folder}/shop_net.py:shop_net", 4)
    _teach(network, bands)
    save_file(network.state_dict(), folder / "shop_net.safetensors")
    shown = _shell(folder, _readme_block("Your own network and images"))
    assert "shoes (boot, sandal, sneaker)" in shown
    metrics = json.loads((folder / "artifacts/shoes/evaluate/metrics.json").read_text())
    assert metrics["source"]["params_total"] == 16 * 27 + 16 + 80 * 4 + 4
    assert set(metrics["reengineered"]["accuracy_per_class"]) == {"boot", "sandal", "sneaker"}
    save_file(
        {k: v * 1.5 if k.startswith("5.") else v for k, v in network.state_dict().items()},
        folder / "shop_net.safetensors",
    )
    assert "✓ prepare_source" in run(folder, "seam", "run").stdout  # other weights in the same file are noticed
