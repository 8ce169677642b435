"""benchmarks/reproduce_rq1.py on a few images, through the real stages.

Cards, page, and what a second run does again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seam.errors import ConfigError
from seam.files import read_json
from tests.defaults import write_params

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import projects
import reproduce_rq1
import results_page

SMALL = (
    *(
        "data.kind=npz",
        "prepare_source.checkpoint=null",
        "prepare_source.expected_accuracy=null",
        "prepare_source.epochs=1",
        "data.min_images_per_class=2",
    ),
    *(
        "search.max_rounds=2",
        "evaluate.adapt_epochs=1",
        "evaluate.retrain_epochs=1",
        "benchmark_latency.engines=[onnxruntime]",
        "benchmark_latency.repeats=10",
    ),
    *("runtime.threads=1", "split_dataset.val_fraction=0.25"),
)


@pytest.fixture
def overrides(brightness_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The small data set; cards and page go to the test's folder."""
    monkeypatch.setattr(projects, "DEFAULTS", write_params(tmp_path / "defaults.yaml"))
    monkeypatch.setattr(reproduce_rq1, "WORK", tmp_path / "work")
    for module in (reproduce_rq1, results_page):
        monkeypatch.setattr(module, "CARDS", tmp_path / "cards")
    monkeypatch.setattr(results_page, "PAGE", tmp_path / "results.md")
    return [*SMALL, f"data.path={brightness_npz}"]


@pytest.mark.slow
def test_a_problem_gives_a_card_and_a_row_and_is_not_computed_twice(overrides: list[str], tmp_path: Path) -> None:
    reproduce_rq1.reproduce("cifar10", ["grey"], 0, overrides)
    card = read_json(tmp_path / "cards" / "cifar10-grey-seed0.json")
    assert card["weights"]["reengineered"] == pytest.approx(0.11 * card["weights"]["original"], rel=1e-3)
    assert {"source", "reengineered", "head_only", "restricted", "random_mask", "retrained"} <= set(card["accuracy"])
    assert card["latency_ms_batch16"]["onnxruntime"]["source"] > 0
    assert str(tmp_path) not in str(card)
    results_page.render()
    page = (tmp_path / "results.md").read_text()
    assert "| grey | 89.0" in page
    assert "*paper, ResNet20, mean of 10*" in page
    made = tmp_path / "work" / "cifar10-seed0" / "artifacts" / "grey" / "search" / "mask.safetensors"
    before = made.stat().st_mtime_ns
    reproduce_rq1.reproduce("cifar10", ["grey"], 0, overrides)
    assert made.stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_suite_of_channels_shows_what_each_engine_makes_of_them(overrides: list[str], tmp_path: Path) -> None:
    small = [
        "search.channel_block=8",
        "finetune.epochs=1",
        "benchmark_latency.engines=[onnxruntime,onnxruntime_int8,openvino_int8]",
    ]
    reproduce_rq1.reproduce("cifar10-channels", ["grey"], 0, [*overrides, *small])
    card = read_json(tmp_path / "cards" / "cifar10-channels-grey-seed0.json")
    assert card["model"] == "reengineered_finetuned"
    assert {"standard_finetuned", "reengineered_finetuned"} <= set(card["accuracy"])
    assert card["macs"]["compacted"] < 0.5 * card["macs"]["original"]
    results_page.render()
    page = (tmp_path / "results.md").read_text()
    saved = (
        f"| {100 * (1 - card['weights']['reengineered'] / card['weights']['original']):.2f} |"
        f" {100 * card['accuracy']['source']:.2f} | "
    )
    assert f"| grey {saved}{100 * card['accuracy']['reengineered_finetuned']:.2f} | " in page
    assert set(card["int8"]) == {"onnxruntime_int8", "openvino_int8"}
    assert set(card["int8"]["openvino_int8"]["compacted"]) >= {
        "accepted",
        "val_accuracy",
        "test_accuracy",
        "test_accuracy_float",
    }
    assert "| the same, ours in int8 where accepted | " in page
    assert (
        f"| {max(card['operators_ms_batch16']['compacted'].items(), key=lambda item: item[1])[0]} | "
        in page.partition("Where it goes")[2]
    )
    engine = card["latency_ms_batch16"]["onnxruntime"]
    removed = 100 * (1 - card["macs"]["compacted"] / card["macs"]["original"])
    assert f"{removed:.1f}% of the multiply-adds removed" in page
    assert (
        f"| onnxruntime | {engine['source']:.2f} | {engine['reengineered']:.2f} | {engine['compacted']:.2f} | " in page
    )
    said = "whole channels in blocks of 8; fine-tuned for 1 epochs, SGD 0.05, momentum 0.9, cosine, distillation 1"
    assert said in " ".join(page.split())
    assert all(len(line) <= 120 for line in page.splitlines() if not line.startswith(("|", "    ")))


def test_an_unknown_problem_is_one_clear_line(overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"--problems boat: expected problems of cifar10: dark, grey, light\."):
        reproduce_rq1.prepare(reproduce_rq1.WORK / "x", "cifar10", ["boat"], 0, overrides)


@pytest.mark.parametrize(
    ("script", "arguments", "line"),
    [
        ("reproduce_rq1.py", ["--seeds", "none"], "error: invalid literal for int() with base 10: 'none'\n"),
        (
            "reproduce_rq3.py",
            ["--data", "flowers"],
            "error: --data flowers=: expected NAME=PATH of a folder or an .npz file that is there.\n",
        ),
    ],
)
def test_the_commands_end_with_one_line_on_bad_input(script: str, arguments: list[str], line: str) -> None:
    command = [sys.executable, str(Path(reproduce_rq1.__file__).with_name(script)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (1, line)
