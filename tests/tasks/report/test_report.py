"""The report of a problem: every figure from the files, one page that needs nothing else, nothing unescaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from seam.files import read_json
from tasks.project.stage import StageContext
from tasks.report import figures
from tasks.report.card import attribution, build_card, claims, layer_densities, read_evidence
from tasks.report.closing import closing_table
from tasks.report.problem import attribution_text, baselines, computed_on, plots, shaped, tiles
from tests.tasks.report.page import REGISTRATION, Edit, render


def test_the_page_is_whole_and_needs_nothing_else(registry_project: StageContext) -> None:
    page = render(registry_project)
    links = re.findall(r"""(?:src|href|xlink:href)\s*=\s*["']([^"']*)""", page) + re.findall(r"url\(([^)]*)\)", page)
    assert not [link for link in links if not link.startswith(("#", "data:"))]
    assert "@import" not in page
    assert "<script" not in page
    for text in (
        "77.3%",
        "96.00%",
        "models:/seam-zero@champion",
        "89.89%",
        "not installed",
        "too &lt;many&gt;",
        "num val 2, num test 4, seed 0; val carved out of the training images",
        "&lt;script&gt;doubt&lt;/script&gt;",
    ):
        assert text in page


def test_every_figure_has_words_and_every_id_is_unique(registry_project: StageContext) -> None:
    ids: list[str] = []
    labels: list[str | None] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            values = dict(attrs)
            ids.extend(v for k, v in attrs if k == "id" and v)
            if tag == "svg":
                labels.append(values.get("aria-label"))

    Reader().feed(render(registry_project))
    assert len(labels) == 7
    assert all(labels)
    assert len(ids) == len(set(ids))


def test_the_same_results_give_the_same_bytes(registry_project: StageContext) -> None:
    assert render(registry_project) == render(registry_project)
    plot = plots(read_evidence(registry_project), "reengineered_finetuned")[0]
    assert figures.to_svg(plot.draw) == figures.to_svg(plot.draw)


def test_figures_take_the_colours_of_the_page(registry_project: StageContext) -> None:
    for plot in plots(read_evidence(registry_project), "reengineered_finetuned"):
        svg = figures.inline(plot.svg, plot.name, 'a "b" <c>')
        assert not re.findall(r"#[0-9a-f]{6}", svg), plot.name
        assert 'aria-label="a &quot;b&quot; &lt;c>"' in svg
        assert "var(--ink)" in svg


def test_the_headline(registry_project: StageContext) -> None:
    shown = tiles(
        closing_table(registry_project.root, ["zero"]), read_evidence(registry_project), "reengineered_finetuned"
    )
    assert [(t.value, t.change, t.good) for t in shown] == [
        ("22.7%", "\N{MINUS SIGN}77.3%", True),
        ("96.00%", "+1.00 points", True),
        ("30.00%", "\N{MINUS SIGN}30.00 points", True),
        ("6.400 ms", "\N{MINUS SIGN}20.0%", True),
    ]


def test_claims_beside_what_was_measured(registry_project: StageContext, edit_json: Edit) -> None:
    here = [c["here"] for c in claims(read_evidence(registry_project), "reengineered_finetuned")]
    assert here[:4] == ["77.30%", "+1.00 points", "not measured: not installed", "\N{MINUS SIGN}30.00 points"]
    timing = {"batch16": {"latency_ms_p50": 4.0}}, {"batch16": {"latency_ms_p50": 3.0}}
    edit_json(
        registry_project.artifact("benchmark_latency", "metrics.json"),
        lambda m: m.update(deepsparse={"source": timing[0], "reengineered": timing[1]}),
    )
    assert claims(read_evidence(registry_project), "reengineered_finetuned")[2]["here"] == "\N{MINUS SIGN}25.0%"


def test_what_head_and_masks_do_to_the_accuracy(registry_project: StageContext) -> None:
    evidence = read_evidence(registry_project)
    wanted = {
        "head_only": 0.005,
        "adapted": 0.005,
        "reengineered_refit": -0.015,
        "taylor_mask": -0.025,
        "magnitude_mask": -0.055,
        "random_mask": -0.405,
    }
    assert attribution(evidence.evaluated) == pytest.approx(wanted)
    separated = [(c["quantity"], c["here"]) for c in claims(evidence, "reengineered_finetuned")[4:]]
    assert separated[:3] == [
        ("accuracy, original, all weights, new head, against the original", "+0.50 points"),
        ("accuracy, original, all weights, head and norm layers, against the new head alone", "+0.50 points"),
        ("accuracy, searched mask, same density, against all weights", "\N{MINUS SIGN}1.50 points"),
    ]
    assert (
        attribution_text(evidence)
        == "The new head alone, with all weights, gains 0.50 points against the original. Training the normalisation"
        " layers too gains 0.50 points against that. The searched mask, with the same training, costs 1.50 points"
        " against all weights. So measured and at the same density, the Taylor mask costs 2.50 points, the magnitude"
        " mask costs 5.50 points, the random mask costs 40.50 points. One test image is 0.50 points."
    )
    assert attribution_text(evidence) in render(registry_project)


def test_an_effect_of_nothing_is_called_so(registry_project: StageContext, edit_json: Edit) -> None:
    edit_json(
        registry_project.artifact("evaluate", "metrics.json"),
        lambda m: m["baselines"]["head_only"].update(accuracy=0.95),
    )
    assert attribution_text(read_evidence(registry_project)).startswith(
        "The new head alone, with all weights, changes nothing against the original."
    )


def test_results_from_before_the_masks_were_compared_still_make_a_page(
    registry_project: StageContext, edit_json: Edit
) -> None:
    path = registry_project.artifact("evaluate", "metrics.json")
    edit_json(path, lambda m: m.update(baselines={n: m["baselines"][n] for n in ("head_only", "restricted")}))
    evidence = read_evidence(registry_project)
    assert [name for name, *_ in baselines(evidence)] == [
        "original",
        "original, only target classes' logits",
        "original, all weights, new head",
        "re-engineered",
        "original, fine-tuned",
        "re-engineered, fine-tuned",
    ]
    assert (
        attribution_text(evidence)
        == "The new head alone, with all weights, gains 0.50 points against the original. One test image is 0.50"
        " points."
    )
    assert "same density" not in render(registry_project)
    edit_json(path, lambda m: m.pop("baselines"))
    assert attribution_text(read_evidence(registry_project)) == ""
    assert "One test image" not in render(registry_project)


def test_density_of_each_layer_by_hand() -> None:
    import torch

    masks = {
        "a.weight": torch.tensor([True, False, False]),
        "a.bias": torch.tensor([True]),
        "b.weight": torch.tensor([False, False]),
    }
    assert layer_densities(masks) == {"a": 0.5, "b": 0.0}


def test_no_engine_and_classes_without_images_still_make_a_page(
    registry_project: StageContext, edit_json: Edit
) -> None:
    edit_json(
        registry_project.artifact("benchmark_latency", "metrics.json"),
        lambda m: m.update(onnxruntime={"unavailable": "gone"}),
    )
    edit_json(
        registry_project.artifact("evaluate", "metrics.json"),
        lambda m: m["source"]["accuracy_per_class"].update(zero=None),
    )
    assert render(registry_project).count("<svg") == 6


def test_problems_in_words() -> None:
    assert shaped(["3", "other"], ["1", "2", "3"]) == "class 3 against the rest of 3"
    assert shaped(["1", "2", "3"], ["1", "2", "3"]) == "all 3 classes"
    assert shaped(["1", "2"], ["1", "2", "3"]) == "2 of 3 classes: 1, 2"


def test_the_card_knows_the_data(registry_project: StageContext) -> None:
    (registry_project.root / "data.dvc").write_text("outs:\n- md5: abc.dir\n  path: data\n")
    evidence = read_evidence(registry_project)
    card = build_card(registry_project, evidence, [], REGISTRATION)
    assert card["hashes"]["data_dvc_md5"] == "abc.dir"
    assert card["search"] == read_json(registry_project.artifact("search", "metrics.json"))


def test_the_page_says_where_each_result_was_computed_and_the_times_were_taken(
    registry_project: StageContext, edit_json: Edit
) -> None:
    one, other = "one CPU, 2 cores, no GPU", "another CPU, 64 cores, a GPU"
    for stage, file in (("search", "metrics.json"), ("finetune", "metrics.json")):
        edit_json(registry_project.artifact(stage, file), lambda content: content.update(computed_on=one))
    edit_json(registry_project.artifact("evaluate", "metrics.json"), lambda content: content.update(computed_on=other))
    machine = {"cpu": "a third CPU", "cores": 4, "gpu": None, "load_average": [0.1, 0.1, 0.1]}
    edit_json(registry_project.artifact("benchmark_latency", "export.json"), lambda e: e.update(hardware=machine))
    page = render(registry_project)
    assert f"{one}: search, finetune" in page and f"{other}: evaluate" in page
    assert "not known: prepare_source, evaluate_robustness" in page
    assert "times taken on</th><td>a third CPU, 4 cores, no GPU<" in page


def test_results_of_one_machine_are_not_listed(registry_project: StageContext) -> None:
    assert computed_on(read_evidence(registry_project)).keys() == {"not known"}
    assert "computed on</th><td>not known<" in render(registry_project)
