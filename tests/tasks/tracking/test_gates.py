"""Promotion gates: each one on both sides of its limit, and policies that are not policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seam.errors import ConfigError
from seam.methods.catalogue import STUDENTS
from tasks.tracking.gates import judge, judge_student
from tasks.tracking.policy import RegistryPolicy, load_policy
from tests.defaults import POLICY, committed

OURS = "reengineered_finetuned"
REFERENCES = ", ".join(m.name for m in STUDENTS if m.role != "ours")


def policy(**gates: Any) -> RegistryPolicy:
    return RegistryPolicy.model_validate({"gates": gates})


def evaluated(ours: float, theirs: float, kept: int = 40, total: int = 100, images: int = 1000) -> dict[str, Any]:
    def entry(accuracy: float, nonzero: int) -> dict[str, Any]:
        return {"accuracy": accuracy, "params_nonzero": nonzero, "num_images": images}

    return {
        "source": entry(theirs, total),
        OURS: entry(ours, kept),
        "baselines": {"head_only": entry(0.99, total)},
        "warnings": [],
    }


@pytest.mark.parametrize(("ours", "passed"), [(0.945, True), (0.944, False), (0.99, True)])
def test_accuracy_drop_of_at_most_half_a_point(ours: float, passed: bool) -> None:
    (verdict,) = judge(policy(accuracy_drop={"against": "source", "at_most": 0.005}), OURS, evaluated(ours, 0.95), {})
    assert verdict.passed is passed


def test_the_verdict_counts_images() -> None:
    (verdict,) = judge(policy(accuracy_drop={"at_most": 0.005}), OURS, evaluated(0.975, 0.985, images=200), {})
    assert not verdict.passed
    assert "97.50% against 98.50% of source on 200 test images: 2 images fewer right" in verdict.text
    assert "0.5 points (1.0 images)" in verdict.text


@pytest.mark.parametrize(("or_images", "passed"), [(0, False), (1, False), (2, True)])
def test_on_a_small_test_split_a_few_images_may_be_allowed(or_images: int, passed: bool) -> None:
    gate = {"at_most": 0.005, "or_images": or_images, "within": 0.1}
    (verdict,) = judge(policy(accuracy_drop=gate), OURS, evaluated(0.98, 1.0, images=100), {})
    assert verdict.passed is passed
    assert ("or of 2 images" in verdict.text) is passed


@pytest.mark.parametrize(
    ("kept", "at_most", "passed"), [(50, 0.5, True), (51, 0.5, False), (100, 1.0, False), (99, 1.0, True)]
)
def test_fewer_weights(kept: int, at_most: float, passed: bool) -> None:
    (verdict,) = judge(policy(fewer_weights={"at_most": at_most}), OURS, evaluated(0.9, 0.9, kept), {})
    assert verdict.passed is passed


@pytest.mark.parametrize(("ours", "passed"), [(0.3, True), (0.30001, False), (0.1, True)])
def test_defect_inheritance_against_the_finetuned_original(ours: float, passed: bool) -> None:
    attacked = {
        OURS: {"defect_inheritance_rate": ours},
        "standard_finetuned": {"defect_inheritance_rate": 0.3},
        "source": {"defect_inheritance_rate": 0.9},
    }
    (verdict,) = judge(policy(defect_inheritance_increase={"at_most": 0.0}), OURS, evaluated(0.9, 0.9), attacked)
    assert verdict.passed is passed


def test_what_was_not_measured_does_not_pass() -> None:
    attacked = {OURS: {"defect_inheritance_rate": None}, "standard_finetuned": {"defect_inheritance_rate": 0.3}}
    (verdict,) = judge(policy(defect_inheritance_increase={"at_most": 0.0}), OURS, evaluated(0.9, 0.9), attacked)
    assert not verdict.passed
    assert "not measured" in verdict.text


def test_a_gate_may_look_at_a_baseline_and_a_gate_left_out_is_not_applied() -> None:
    (verdict,) = judge(policy(accuracy_drop={"against": "head_only", "at_most": 0.0}), OURS, evaluated(0.98, 0.5), {})
    assert (verdict.gate, verdict.passed) == ("accuracy_drop", False)


def test_the_projects_policy_is_valid(tmp_path: Path) -> None:
    (tmp_path / "registry.yaml").write_text(committed("mlflow/registry.yaml"))
    loaded = load_policy(tmp_path / "registry.yaml")
    assert loaded.alias == "champion"
    assert loaded.gates.model_fields_set == {"accuracy_drop", "fewer_weights", "defect_inheritance_increase"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gates: {accuracy_dorp: {at_most: 0.1}}", "unknown gate 'gates.accuracy_dorp'; did you mean 'accuracy_drop'?"),
        (
            "gates: {accuracy_drop: {at_mots: 0.1, at_most: 0.1}}",
            "unknown key 'gates.accuracy_drop.at_mots'; did you mean 'at_most'?",
        ),
        ("gates: {accuracy_drop: {at_most: 7}}", "gates.accuracy_drop.at_most"),
        ("gates: {accuracy_drop: {at_most: 0.1, against: nobody}}", "gates.accuracy_drop.against"),
        (
            "gates: {fewer_weights: {}}\ntransfer_gates: {accuracy_drop: {against: standrad, at_most: 0}}",
            f"transfer_gates.accuracy_drop.against: expected a method, one of {REFERENCES}, got 'standrad';"
            " did you mean 'standard'?",
        ),
        (
            "gates: {fewer_weights: {}}\ntransfer_gates: {accuracy_drop: {against: seam, at_most: 0}}",
            f"one of {REFERENCES}, got 'seam'",
        ),
        (
            "gates: {fewer_weights: {}}\nchampion_gates: {weight: {at_most: 2}}",
            "unknown gate 'champion_gates.weight'; did you mean 'weights'?",
        ),
        ("gates: {fewer_weights: {}}\nchampion_gates: {weights: {at_most: 0.5}}", "champion_gates.weights.at_most"),
        ("gates: {fewer_weights: {}}\nevidence: {levle: 0.9}", "unknown key 'evidence.levle'; did you mean 'level'?"),
        ("gates: {}", "expected at least one gate"),
        ("alias: a b\ngates: {fewer_weights: {}}", "alias"),
        ("- 1", "registry.yaml"),
        ("gates: [", "expected YAML"),
    ],
)
def test_a_bad_policy_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_policy(path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_policy_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such registry policy"):
        load_policy(tmp_path / "registry.yaml")


STUDENT = {"accuracy": 0.80, "defect_inheritance_rate": 0.20, "num_images": 1000}


@pytest.mark.parametrize(
    ("standard", "rate", "passed"),
    [(0.82, 0.40, [True, True]), (0.821, 0.40, [False, True]), (0.7, 0.399, [True, False]), (0.8, None, [True, False])],
)
def test_gates_of_a_student(standard: float, rate: float | None, passed: list[bool], tmp_path: Path) -> None:
    (tmp_path / "registry.yaml").write_text(POLICY)
    loaded = load_policy(tmp_path / "registry.yaml")
    references = {"standard": {"accuracy": standard, "defect_inheritance_rate": rate, "num_images": 1000}}
    verdicts = judge_student(loaded, STUDENT, references)
    assert [v.gate for v in verdicts] == ["accuracy_drop", "defect_inheritance_share"]
    assert [v.passed for v in verdicts] == passed


def test_a_student_without_reference_or_gates_is_not_promoted() -> None:
    gated = RegistryPolicy.model_validate(
        {"gates": {}, "transfer_gates": {"defect_inheritance_share": {"against": "remos", "at_most": 0.5}}}
    )
    assert [v.passed for v in judge_student(gated, STUDENT, {"standard": STUDENT})] == [False]
    (verdict,) = judge_student(policy(), STUDENT, {"standard": STUDENT})
    assert not verdict.passed and "no gate for transfers" in verdict.text


def test_an_unknown_gate_of_transfers_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "registry.yaml").write_text(
        "gates: {accuracy_drop: {at_most: 0}}\ntransfer_gates: {defect_inheritance: {at_most: 0.5}}\n"
    )
    with pytest.raises(
        ConfigError, match=r"unknown gate 'transfer_gates.defect_inheritance'; did you mean 'defect_inheritance_share'"
    ):
        load_policy(tmp_path / "registry.yaml")
