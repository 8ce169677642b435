"""What the README says of the default problems is what the results shipped with the project say."""

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from seam.inference.engines import ENGINES, engines_that_take
from tests.defaults import ROOT, committed

README = (ROOT / "README.md").read_text()
PROBLEMS = ("shirt", "shoes")
PAGES = (ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def _shipped(path):
    """A JSON file of the shipped results, out of the project's DVC store by the hash in its dvc.lock as committed.

    A run here writes its own.
    """
    problem = path.split("/")[1]
    stages = YAML(typ="safe").load(committed(f"problems/{problem}/dvc.lock"))["stages"].values()
    md5 = next(out["md5"] for stage in stages for out in stage.get("outs", ()) if out["path"] == path)
    return json.loads((ROOT / "storage" / "files" / "md5" / md5[:2] / md5[2:]).read_text())


def _table():
    rows = [
        line.strip("| ").split(" | ")
        for line in README.split("<!-- table -->")[1].split("<!-- /table -->")[0].strip().splitlines()[3:]
    ]
    return {name: {"shirt": (a, b.split(" (")[0]), "shoes": (c, d.split(" (")[0])} for name, a, b, c, d in rows}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_readmes_table_is_what_was_measured(problem):
    evaluated = _shipped(f"artifacts/{problem}/evaluate/metrics.json")
    attacked = _shipped(f"artifacts/{problem}/evaluate_robustness/metrics.json")
    latency = _shipped(f"artifacts/{problem}/benchmark_latency/metrics.json")
    before, after = evaluated["source"], evaluated["reengineered_finetuned"]
    rows = {name: cells[problem] for name, cells in _table().items()}
    assert rows["weights"] == (f"{before['params_nonzero']:,}", f"{after['params_nonzero']:,}")
    assert rows["multiply-adds"] == tuple(f"{m['macs_nonzero'] / 1e6:.2f} M" for m in (before, after))
    assert rows["test accuracy"] == tuple(f"{m['accuracy']:.2%}" for m in (before, after))
    assert rows["inherited defects (DIR)"] == tuple(
        f"{attacked[m]['defect_inheritance_rate']:.2%}" for m in ("source", "reengineered_finetuned")
    )
    for engine in engines_that_take("onnx"):
        name = f"{ENGINES[engine].label}, batch 16"
        assert rows[name] == tuple(
            f"{latency[engine][m]['batch16']['latency_ms_p50']:.2f} ms" for m in ("source", "compacted")
        )


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_shipped_results_keep_at_most_a_quarter_of_the_weights_within_a_point(problem):
    evaluated = _shipped(f"artifacts/{problem}/evaluate/metrics.json")
    for model in ("reengineered", "reengineered_finetuned"):
        assert evaluated[model]["density"] <= 0.25
        assert evaluated[model]["accuracy"] >= evaluated["source"]["accuracy"] - 0.01


def test_what_the_readme_says_of_transfers_is_on_the_cards():
    """Accuracy and inherited defects on flowers17, the training of each method chosen on val."""
    said = README.split("## Transfer to other data")[1].split("\n## ")[0]
    rows = json.loads((ROOT / "benchmarks" / "results" / "rq3" / "flowers17-rq3.json").read_text())["methods"]
    for method in ("standard", "seam-80", "magnitude-80"):
        for key in ("accuracy", "defect_inheritance_rate"):
            assert f"{rows[method][key]['mean']:.1%}" in said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_and_the_files_it_names_exist(page):
    text = page.read_text()
    links = [part.split(")")[0].partition("#")[0] for part in text.split("](")[1:]]
    assert [link for link in links if link and not link.startswith("http") and not (page.parent / link).exists()] == []
    files = re.findall(r"`((?:seam|tasks|flows|tests|presets|benchmarks)/[a-z0-9_/-]+\.\w+)`", text)
    assert [name for name in files if not (ROOT / name).exists()] == []
    modules = re.findall(r"python -m ((?:seam|tasks|flows)[\w.]+)", text)
    assert [name for name in modules if not (ROOT / Path(*name.split(".")).with_suffix(".py")).is_file()] == []
