"""Searches that went together, then their stages."""

import csv
import json
import sys

import numpy as np
import pytest
import torch

from seam.data.prepared import ImageData, save_prepared
from seam.files import read_json
from seam.networks.build import build
from seam.networks.source import save_source
from tasks.inputs import search_together as together
from tasks.inputs.problem import problem_source
from tasks.project.params import parse_params
from tasks.project.stage import StageContext
from tasks.project.subject import Subject
from tasks.search import checkpoint_of, prepare, search
from tasks.split_dataset import split_dataset
from tests.registry_project import source_info

CLASSES = ("a", "b", "c", "d")
PROBLEMS = {"a": ["a"], "b": ["b"], "c": ["c"], "abc": ["a", "b", "c"]}


@pytest.fixture
def contexts(registry_project, monkeypatch):
    """Three problems with as many training images, and one with others; split, with a source, not searched."""
    root = registry_project.root
    monkeypatch.chdir(root)
    architecture = f"{root / 'tiny.py'}:tiny"
    values = {
        "problems": PROBLEMS,
        "data": {"path": "none.npz"},
        "prepare_source": {"architecture": architecture},
        "runtime": {"searches_together": 2, "device": "cpu"},
        "search": {"max_rounds": 5, "batch_size": 16, "target": 0.3},
    }
    (root / "params.yaml").write_text(json.dumps(values))
    params = parse_params(values, "test")
    rng = np.random.default_rng(0)
    labels = np.arange(160, dtype=np.int64) % 4
    images = rng.integers(0, 120, (160, 8, 8, 1), dtype=np.uint8)
    images[labels == 1, :4] += 120
    images[labels == 2, 4:] += 120
    save_prepared(
        ImageData(images[:120], labels[:120], images[120:], labels[120:], CLASSES),
        registry_project.artifact("validate_data", "dataset.safetensors"),
    )
    torch.manual_seed(0)
    folder = registry_project.folder("prepare_source")
    save_source(build(architecture, 4), source_info(architecture, CLASSES), folder)
    for name in PROBLEMS:
        split_dataset(StageContext("split_dataset", params, root, Subject("problem", name)))
    return [StageContext("search", params, root, Subject("problem", name)) for name in PROBLEMS]


def _history(context):
    with context.artifact("search", "history.csv").open() as f:
        return [float(row["cross_entropy"]) for row in csv.DictReader(f)]


def test_the_stage_finishes_what_went_together(contexts):
    rounds = []
    groups = together.search_together(contexts, lambda name, found: rounds.append(name))
    assert groups == [("a", "b")]  # two at most; c is left without another, abc has other images
    assert rounds == ["a", "b"] * 5
    assert [checkpoint_of(c).is_file() for c in contexts] == [True, True, False, False]
    for context in contexts[:2]:
        loop = prepare(context, problem_source(context)).loop
        loop.resume(checkpoint_of(context))
        assert loop.ended() and len(loop.rounds) == 5


def test_results_are_those_of_searches_alone(contexts):
    for context in contexts[:2]:
        search(context)
    alone = {c.name: (_history(c), read_json(c.artifact("search", "metrics.json"))) for c in contexts[:2]}
    together.search_together(contexts[:2])
    for context in contexts[:2]:
        search(context)
        history, metrics = alone[context.name]
        assert _history(context) == pytest.approx(history, rel=1e-3)
        assert read_json(context.artifact("search", "metrics.json"))["density"] == pytest.approx(
            metrics["density"], abs=0.02
        )
        assert not context.work_folder.exists()
    assert alone["a"][0] != alone["b"][0]


def test_on_a_cpu_none_goes_together_unless_told(contexts, monkeypatch):
    monkeypatch.setattr(together, "_limit", lambda context, search: 1)
    assert together.search_together(contexts) == []
    assert not any(checkpoint_of(c).exists() for c in contexts)


def test_the_command_line(contexts, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(sys, "argv", ["search_together", "--problems", "a,b,c"])
    together.main()
    assert "2 of 3 problems searched together" in caplog.text
    monkeypatch.setattr(sys, "argv", ["search_together", "--problems", "a,nope"])
    with pytest.raises(SystemExit, match="unknown problem 'nope'"):
        together.main()
