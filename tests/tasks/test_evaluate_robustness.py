"""evaluate_robustness on the small project: all test images are attacked and measured, the first of them published."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors.torch import load_file, save

from seam.defects.inheritance import defect_inheritance
from seam.files import read_json
from tasks import evaluate_robustness as stage_module
from tasks.evaluate_robustness import evaluate_robustness
from tasks.inputs.problem import load_model, problem_images, problem_source
from tasks.project.stage import StageContext
from tests.tasks.test_evaluate import before_evaluation


def published(context: StageContext) -> dict[str, torch.Tensor]:
    evaluate_robustness(context)
    return load_file(context.artifact("evaluate_robustness", "adversarial.safetensors"))


def test_the_first_images_are_published_and_all_are_measured(
    registry_project: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = before_evaluation(registry_project)
    context = StageContext("evaluate_robustness", before.params, before.root, before.subject)
    every = published(context)
    metrics, about = (
        read_json(context.artifact("evaluate_robustness", f"{name}.json")) for name in ("metrics", "attack")
    )
    test, source = problem_images(context, "test"), problem_source(context)
    assert len(every["images_normalized"]) == len(test)
    assert about["adversarial_sha256"] == hashlib.sha256(save(every)).hexdigest()
    model = load_model(context, "reengineered_finetuned")
    with torch.no_grad():
        answers = [model(images).argmax(1) for images in (source.preprocess()(test.images), every["images_normalized"])]
    expected = defect_inheritance(answers[0], answers[1], test.labels)
    assert metrics["reengineered_finetuned"]["defect_inheritance_rate"] == expected.defect_inheritance_rate

    monkeypatch.setattr(stage_module, "KEPT", 2)
    some = published(context)
    assert {name: len(values) for name, values in some.items()} == {"images_normalized": 2, "labels": 2}
    assert torch.equal(some["images_normalized"], every["images_normalized"][:2])
    assert read_json(context.artifact("evaluate_robustness", "metrics.json")) == metrics
    assert read_json(context.artifact("evaluate_robustness", "attack.json")) == about
