"""The model card: everything known of a registered result, gathered from the other stages' files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from seam.files import read_json, read_rows, sha256_file
from seam.masks.pack import load_mask_pack
from tasks.project.measured import MEASURED, SAME_DENSITY
from tasks.project.stage import StageContext
from tasks.report.layouts import PredictedTime, predicted_time
from tasks.report.words import NOTHING, served_form, show_change
from tasks.tracking.environment import data_dvc, made_with
from tasks.tracking.gates import Verdict

PAPER = "Qi et al., Reusing Deep Neural Network Models through Model Re-engineering (SeaM), ICSE 2023"
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Evidence:
    """The result files of a problem, read."""

    data: dict[str, Any]
    source: dict[str, Any]
    split: dict[str, Any]
    search: dict[str, Any]
    history: Rows
    """search/history.csv."""
    frontier: Rows
    finetuned: dict[str, Any]
    finetune_history: Rows
    evaluated: dict[str, Any]
    attacked: dict[str, Any]
    attack: dict[str, Any]
    latency: dict[str, Any]
    export: dict[str, Any]
    timed_frontier: Rows
    """benchmark_latency/frontier.csv: the original, then the candidates; empty where they were not
    timed."""
    layer_density: dict[str, float]
    """Layer -> share of its weights kept, from input to output."""
    hashes: dict[str, str]

    @property
    def predicted(self) -> PredictedTime | None:
        """The time of the layout, predicted and measured; None where the search did not spend milliseconds."""
        return predicted_time(self.search, self.latency, self.export)


def read_evidence(context: StageContext) -> Evidence:
    """Read what the earlier stages published."""
    weights = MEASURED[context.params.register_model.model].weights
    assert weights is not None
    source = read_json(context.artifact("prepare_source", "source.json"))
    mask_path = context.artifact("search", "mask.safetensors")
    pack = load_mask_pack(mask_path, source["sha256"])
    hashes = {
        "dataset_sha256": sha256_file(context.artifact("validate_data", "dataset.safetensors")),
        "source_sha256": source["sha256"],
        "mask_sha256": pack.mask_sha256,
        "head_sha256": sha256_file(context.artifact("search", "head.safetensors")),
        "norms_sha256": sha256_file(context.artifact("search", "norms.safetensors")),
        "weights_sha256": sha256_file(context.artifact(*weights)),
    }
    return Evidence(
        data=read_json(context.artifact("validate_data", "validation.json")),
        source=source,
        split=read_json(context.artifact("split_dataset", "summary.json")),
        search=read_json(context.artifact("search", "metrics.json")),
        history=read_rows(context.artifact("search", "history.csv")),
        frontier=read_rows(context.artifact("search", "frontier.csv")),
        finetuned=read_json(context.artifact("finetune", "metrics.json")),
        finetune_history=read_rows(context.artifact("finetune", "history.csv")),
        evaluated=read_json(context.artifact("evaluate", "metrics.json")),
        attacked=read_json(context.artifact("evaluate_robustness", "metrics.json")),
        attack=read_json(context.artifact("evaluate_robustness", "attack.json")),
        latency=read_json(context.artifact("benchmark_latency", "metrics.json")),
        export=read_json(context.artifact("benchmark_latency", "export.json")),
        timed_frontier=read_rows(context.artifact("benchmark_latency", "frontier.csv")),
        layer_density=layer_densities(pack.masks),
        hashes=hashes,
    )


def build_card(
    context: StageContext, evidence: Evidence, verdicts: Sequence[Verdict], registration: Mapping[str, Any]
) -> dict[str, Any]:
    """The card.

    Args:
        context: of register_model.
        evidence: of the problem.
        verdicts: of the gates.
        registration: as tasks.tracking.registration gives it.
    """
    return {
        "problem": context.name,
        "classes": evidence.split["classes"],
        "model": context.params.register_model.model,
        **registration,
        "gates": [v.as_dict() for v in verdicts],
        "warnings": [*([registration["doubt"]] if registration.get("doubt") else ()), *gather_warnings(evidence)],
        "claims": claims(evidence, context.params.register_model.model),
        "seeds": {"seed": context.params.seed},
        "params": context.params.model_dump(mode="json"),
        "source": evidence.source,
        "split_dataset": evidence.split,
        "search": evidence.search,
        "finetune": evidence.finetuned,
        "evaluate": evidence.evaluated,
        "evaluate_robustness": evidence.attacked,
        "attack": evidence.attack,
        "benchmark_latency": evidence.latency,
        "predicted_time": evidence.predicted and asdict(evidence.predicted),
        "frontier": evidence.timed_frontier or evidence.frontier,
        "export": evidence.export,
        "density_per_layer": evidence.layer_density,
        "hashes": {**evidence.hashes, **data_dvc(context.root)},
        **made_with(context.root),
    }


def claims(evidence: Evidence, model: str) -> list[dict[str, str]]:
    """What the paper claims on average, and what was measured here for the model that is registered.

    Then where the accuracy comes from.
    """
    source, ours = evidence.evaluated["source"], evidence.evaluated[model]
    fast = evidence.latency.get("deepsparse", {"unavailable": "not timed"})
    before, after = (fast.get(m, {}).get("batch16", {}).get("latency_ms_p50") for m in ("source", served_form(fast)))
    missing = f"not measured: {fast.get('unavailable', 'batch 16 was not timed')}"
    baseline, inherited = (
        evidence.attacked.get(m, {}).get("defect_inheritance_rate")
        for m in ("standard_finetuned", "reengineered_finetuned")
    )
    inherited_less = "not measured" if None in (baseline, inherited) else show_change(baseline, inherited, "fraction")
    rows = [
        ("weights removed", "89.89%", f"{1 - ours['density']:.2%}"),
        (
            "accuracy against the original",
            "+5.85 points",
            show_change(source["accuracy"], ours["accuracy"], "fraction"),
        ),
        (
            "inference time, DeepSparse, batch 16",
            "\N{MINUS SIGN}42.41%",
            missing if None in (before, after) else show_change(before, after, "milliseconds"),
        ),
        (
            "inherited defects, re-engineered against original, both fine-tuned",
            "\N{MINUS SIGN}57 points",
            inherited_less,
        ),
    ]
    best = evidence.export.get("fastest", {}).get("batch16")
    if best:
        faster = show_change(best["source"]["latency_ms_p50"], best["reengineered"]["latency_ms_p50"], "milliseconds")
        engines = f"{best['source']['engine']}; {best['reengineered']['engine']}, {best['reengineered']['model']}"
        rows.insert(3, (f"inference time, batch 16, each on its fastest engine ({engines})", NOTHING, faster))
    for name, change in attribution(evidence.evaluated).items():
        against = {"head_only": "the original", "adapted": "the new head alone"}.get(name, "all weights")
        rows.append(
            (f"accuracy, {MEASURED[name].label}, against {against}", NOTHING, show_change(0.0, change, "fraction"))
        )
    return [{"quantity": quantity, "paper": paper, "here": here} for quantity, paper, here in rows]


def attribution(evaluated: Mapping[str, Any]) -> dict[str, float]:
    """What head and masks do to the test accuracy, as differences of fractions; what was not measured is left out.

    Args:
        evaluated: evaluate/metrics.json.

    Returns:
        `head_only`: against the original, all weights kept by both. `adapted`: against `head_only`.
        Each of `SAME_DENSITY`: against `adapted`, where that was measured, or `head_only`: what differs is
        the mask alone.
    """
    models = {**evaluated, **evaluated.get("baselines", {})}
    whole = "adapted" if "adapted" in models else "head_only"
    against = {"head_only": "source", "adapted": "head_only", **dict.fromkeys(SAME_DENSITY, whole)}
    return {
        name: models[name]["accuracy"] - models[other]["accuracy"]
        for name, other in against.items()
        if name in models and other in models
    }


def gather_warnings(evidence: Evidence) -> list[str]:
    """Every doubt the stages recorded, each once."""
    found: list[str] = []
    stages = (
        evidence.data,
        evidence.source,
        evidence.split,
        evidence.search,
        evidence.finetuned,
        evidence.evaluated,
        evidence.attacked,
        evidence.attack,
        evidence.latency,
        evidence.export,
    )
    for results in stages:
        found += [text for text in results.get("warnings", ()) if text not in found]
    doubt = evidence.predicted and evidence.predicted.doubt
    return [*found, doubt] if doubt else found


def layer_densities(masks: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Layer -> share of its weights and biases kept."""
    kept: dict[str, list[int]] = {}
    for name, mask in masks.items():
        layer = kept.setdefault(name.rpartition(".")[0] or name, [0, 0])
        layer[0] += int(mask.sum())
        layer[1] += mask.numel()
    return {layer: count / total for layer, (count, total) in kept.items()}
