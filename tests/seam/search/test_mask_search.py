"""The mask search on a network small enough to know what it must find."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.data.images import LabelledImages
from seam.errors import SearchError
from seam.masks.masks import apply_masks, density
from seam.measures.macs import weight_macs
from seam.networks.head import Reengineered, SourceOnProblem, fit_head
from seam.networks.norms import norm_tensors, put_norm_tensors
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.runtime import start
from seam.search.mask_search import MaskSearch
from seam.search.result import Point, Round, frontier
from tests.seam.left_or_right import left_or_right

CONFIG = SearchConfig(target=0.15, batch_size=16, max_rounds=40, augment="none")
DRIFT = SearchConfig(method="drift", batch_size=16, max_rounds=60, patience=60, augment="none", lr_scores=0.1)


class Needle(nn.Module):
    """Reads the brightness of the left and right half; every other weight is noise that cancels out or is useless."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * 2, 3)

    def forward(self, x):
        x = self.bn(self.conv(x)).relu()
        return self.fc(torch.cat([x[..., :4].mean((2, 3)), x[..., 4:].mean((2, 3))], dim=1))


@pytest.fixture(autouse=True)
def _every_round_is_saved(monkeypatch):
    monkeypatch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)


@pytest.fixture
def parts():
    torch.manual_seed(0)
    runtime = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)
    return Needle().eval(), Preprocess((0.3,) * 3, (0.3,) * 3), left_or_right(0), left_or_right(1), runtime


def _search(parts, config=CONFIG, floor=0.9):
    network, preprocess, train, val, runtime = parts
    return MaskSearch(network, preprocess, train, val, 2, config, runtime, seed=3, source_val_accuracy=floor)


def test_weights_whose_macs_are_not_counted_are_named(parts):
    network, preprocess, train, val, runtime = parts
    uncounted = {**weight_macs(network, torch.zeros(1, 3, 8, 8)), "fc.weight": 0.0}
    with pytest.raises(SearchError, match=r"multiply-adds of fc\.weight are not counted"):
        MaskSearch(network, preprocess, train, val, 2, replace(CONFIG, cost="macs"), runtime, 0, 0.9, uncounted)


@pytest.mark.parametrize("config", [CONFIG, DRIFT], ids=["budget", "drift"])
def test_search_removes_most_weights_and_keeps_the_accuracy(parts, config):
    result = _search(parts, config).run()
    assert result.met_floor
    assert result.best.density < 0.35
    assert result.best.val_accuracy >= 0.9
    assert result.rounds[0].density > result.best.density


def test_the_source_is_left_as_it_was(parts):
    network = parts[0]
    before = {k: v.clone() for k, v in network.state_dict().items()}
    _search(parts, replace(CONFIG, max_rounds=3)).run()
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_merged_network_equals_the_masked_one(parts):
    search = _search(parts, replace(CONFIG, max_rounds=30))
    result = search.run()
    search.weights.refresh()
    masked = predict(search.masked, parts[3], parts[1])
    apply_masks(parts[0], result.masks)
    put_norm_tensors(parts[0], result.norms)
    merged = predict(Reengineered(parts[0], result.head), parts[3], parts[1])
    assert torch.equal(masked, merged)
    assert accuracy(merged, parts[3].labels) == result.best.val_accuracy


def test_frozen_norm_layers_stay_as_they_are_and_learning_ones_do_not(parts):
    before = norm_tensors(parts[0])
    frozen = _search(parts, replace(CONFIG, max_rounds=3, norm_layers="frozen")).run()
    learnt = _search(parts, replace(CONFIG, max_rounds=3)).run()
    assert all(torch.equal(frozen.norms[k], before[k]) for k in before)
    assert all(not torch.equal(learnt.norms[k], before[k]) for k in before)


def test_all_ones_mask_leaves_the_logits_bit_identical(parts):
    search = _search(parts)
    images = parts[1](parts[2].images)
    assert torch.equal(search.source_logits(images), parts[0](images))


def test_same_seed_same_mask_other_seed_other_mask(parts):
    first, second = _search(parts, DRIFT).run(), _search(parts, DRIFT).run()
    assert all(torch.equal(first.masks[k], second.masks[k]) for k in first.masks)
    assert first.rounds == second.rounds
    network, preprocess, train, val, runtime = parts
    other = MaskSearch(network, preprocess, train, val, 2, DRIFT, runtime, seed=4, source_val_accuracy=0.9).run()
    assert any(not torch.equal(first.masks[k], other.masks[k]) for k in first.masks)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, batch_size=24),
        replace(CONFIG, norm_layers="frozen"),
        DRIFT,
        replace(DRIFT, head_only_every=5),
    ],
    ids=["budget", "budget, 5 steps a round", "budget, frozen norm layers", "drift", "head only"],
)
def test_killed_search_continues_to_the_same_result(parts, tmp_path, config):
    class Killed(Exception):
        pass

    def kill_after(last):
        def on_round(now):
            if now.round == last:
                raise Killed

        return on_round

    whole = _search(parts, config).run()
    checkpoint = tmp_path / "checkpoint.safetensors"
    for last in (4, 21):
        with pytest.raises(Killed):
            _search(parts, config).run(checkpoint, kill_after(last))
    seen = []
    resumed = _search(parts, config).run(checkpoint, lambda r: seen.append(r.round))
    assert seen[0] == 22
    assert resumed.rounds == whole.rounds
    assert all(torch.equal(resumed.masks[k], whole.masks[k]) for k in whole.masks)
    assert all(torch.equal(resumed.norms[k], whole.norms[k]) for k in whole.norms)
    assert torch.equal(resumed.head.linear.weight, whole.head.linear.weight)


def test_checkpoint_of_other_inputs_is_not_used(parts, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    _search(parts, replace(CONFIG, max_rounds=5)).run(checkpoint)
    rounds = []
    _search(parts, replace(CONFIG, max_rounds=6)).run(checkpoint, lambda r: rounds.append(r.round))
    assert rounds == [0, 1, 2, 3, 4, 5]


def test_damaged_checkpoint_is_ignored(parts, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(b"half a checkp")
    assert len(_search(parts, replace(CONFIG, max_rounds=2)).run(checkpoint).rounds) == 2


def test_without_a_candidate_at_the_floor_the_best_compromise_is_kept_and_said(parts):
    result = _search(parts, replace(DRIFT, max_rounds=5), floor=1.1).run()
    assert not result.met_floor
    assert result.rounds[result.best.round] == max(result.rounds, key=lambda r: r.val_accuracy - r.density)
    result = _search(parts, replace(CONFIG, max_rounds=5), floor=1.1).run()
    assert not result.met_floor


def test_alpha_zero_feels_no_pull_towards_fewer_weights(parts):
    assert _search(parts, replace(DRIFT, alpha=0.0)).dynamics._drift == 0
    assert _search(parts, replace(DRIFT, alpha=2.0)).dynamics._drift == 2.0 / (8 * 27 + 48 + 3)


def test_a_target_is_met_exactly_when_no_accuracy_is_asked_for(parts):
    weights = 8 * 27 + 48 + 3
    for target in (0.05, 0.3):
        result = _search(parts, replace(CONFIG, target=target, accuracy_floor=0.0, max_rounds=3)).run()
        assert sum(int(m.sum()) for m in result.masks.values()) == round(target * weights)


def test_the_smallest_point_of_the_frontier_at_the_floor_is_kept(parts):
    result = _search(parts, replace(CONFIG, target=0.01, alpha=100.0), floor=0.99).run()
    assert result.met_floor and result.best in result.frontier
    assert all(p.val_accuracy < 0.99 for p in result.frontier if p.density < result.best.density)
    assert [density(masks) for masks in result.candidates] == pytest.approx([p.density for p in result.frontier])


def test_alpha_weighs_cost_against_accuracy_among_the_candidates(parts):
    few, many = (_search(parts, replace(CONFIG, target=0.01, alpha=a), floor=0.5).run().best for a in (100.0, 0.0))
    assert few.density < many.density and few.val_accuracy >= 0.5


def test_cost_by_macs_keeps_that_share_of_the_macs(parts):
    network, preprocess, train, val, runtime = parts
    macs = weight_macs(network, torch.zeros(1, 3, 8, 8))
    assert macs == {"conv.weight": 64.0, "fc.weight": 1.0}
    config = replace(CONFIG, cost="macs", target=0.25, accuracy_floor=0.0, max_rounds=3)
    result = MaskSearch(
        network, preprocess, train, val, 2, config, runtime, seed=3, source_val_accuracy=0.9, weight_macs=macs
    ).run()
    kept = 64 * int(result.masks["conv.weight"].sum()) + int(result.masks["fc.weight"].sum())
    assert 0.23 < kept / (64 * 8 * 27 + 48) <= 0.25
    drift = MaskSearch(
        network,
        preprocess,
        train,
        val,
        2,
        replace(DRIFT, cost="macs"),
        runtime,
        seed=3,
        source_val_accuracy=0.9,
        weight_macs=macs,
    )
    assert drift.dynamics._drift.sum().item() == pytest.approx(1.0)
    with pytest.raises(SearchError, match="multiply-adds"):
        _search(parts, config)


def test_the_budget_falls_to_the_target_and_stays(parts):
    search = _search(parts, replace(CONFIG, ramp=0.5))
    budgets = [search.dynamics.budget(i * search.steps_per_round) for i in range(41)]
    assert budgets[0] == 1 and budgets == sorted(budgets, reverse=True)
    assert budgets[20:] == [CONFIG.target] * 21


def test_published_quirks_are_options(parts):
    quirks = replace(
        DRIFT, head_only_every=5, head_start="random", lr_head=0.1, adam_eps=1e-8, patience=0, max_rounds=6
    )
    search = _search(parts, quirks)
    assert not torch.equal(search.head.linear.weight, search.head_only.linear.weight)
    densities = [r.density for r in search.run().rounds]
    assert densities[0] == 1.0 and densities[5] == densities[4]  # rounds 0 and 5 teach the head alone


def test_nan_weights_are_one_clear_line(parts):
    with torch.no_grad():
        parts[0].fc.weight[0, 0] = float("nan")
    with pytest.raises(SearchError, match="NaN or infinite"):
        _search(parts)


def test_stops_when_nothing_improves(parts):
    search = _search(parts, replace(DRIFT, patience=3, max_rounds=100))
    search.rounds = [Round(i, 0.1, 0.5, 0.9, i == 0) for i in range(4)]
    assert search.converged()
    search.rounds = [Round(i, 0.1, 0.5 - 0.01 * i, 0.8, i == 0) for i in range(4)]
    assert not search.converged()
    search.rounds = [Round(i, 0.1, 0.5, 0.9, i == 2) for i in range(4)]
    assert not search.converged()


def test_candidates_follow_the_published_order(parts):
    search = _search(parts, DRIFT, floor=0.9)
    search.best = Round(0, 0.1, 0.5004, 0.92, True)
    assert search._accepts(0.4999, 0.90)  # fewer per mille, at the floor
    assert not search._accepts(0.4999, 0.89)  # below the floor
    assert search._accepts(0.5002, 0.93)  # same per mille, better accuracy
    assert not search._accepts(0.5003, 0.92)  # same per mille, same accuracy
    assert not search._accepts(0.6, 0.99)


def test_frontier_keeps_what_no_round_beats():
    points = tuple(
        Point(d, a, i) for i, (d, a) in enumerate([(0.9, 0.95), (0.5, 0.97), (0.4, 0.90), (0.3, 0.90), (0.2, 0.80)])
    )
    assert [(r.density, r.val_accuracy) for r in frontier(points)] == [(0.5, 0.97), (0.3, 0.90), (0.2, 0.80)]


def test_fit_head_reaches_the_optimum_of_the_regularised_loss():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(60, 4, generator=generator), torch.arange(60) % 3
    head = fit_head(logits, labels, 3, weight_decay=0.01).requires_grad_(True)
    loss = nn.functional.cross_entropy(head(logits), labels) + 0.005 * head.linear.weight.square().sum()
    loss.backward()
    assert head.linear.weight.grad.abs().max() < 1e-4


def test_source_on_problem_follows_the_unrestricted_argmax():
    logits = torch.tensor([[1.0, 5.0, 2.0], [4.0, 1.0, 0.0], [0.0, 1.0, 9.0]])
    images = logits.view(3, 3, 1, 1)  # nn.Flatten() as network: the "logits" are the image's channels
    binary = SourceOnProblem(nn.Flatten(), (1,), 3)(images)
    assert binary.tolist() == [[5.0, 2.0], [1.0, 4.0], [1.0, 9.0]]
    pair = SourceOnProblem(nn.Flatten(), (0, 1), 3)(images)
    assert pair.argmax(1).tolist() == [1, 0, 2]  # the last is outside the problem: an error whatever its label
    assert torch.equal(SourceOnProblem(nn.Flatten(), (0, 1, 2), 3)(images), logits)


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (lambda data: LabelledImages(data.images.clone(), data.labels.clone()), 3),
        (lambda data: LabelledImages(data.images, 1 - data.labels), 0),
        (lambda data: LabelledImages(data.images.flip(2), data.labels), 0),
    ],
    ids=["the same data", "swapped labels", "mirrored images"],
)
@pytest.mark.parametrize("which", ["train", "val"])
def test_a_killed_search_continues_on_the_same_data_alone(parts, tmp_path, which, change, first):
    def stop(found):
        if found.round == 2:
            raise KeyboardInterrupt

    config, checkpoint = replace(CONFIG, max_rounds=5), tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        _search(parts, config).run(checkpoint, stop)
    network, preprocess, train, val, runtime = parts
    images = (change(train), val) if which == "train" else (train, change(val))
    changed, rounds = (network, preprocess, *images, runtime), []
    resumed = _search(changed, config).run(checkpoint, lambda found: rounds.append(found.round))
    assert rounds[0] == first
    assert resumed.rounds == _search(changed, config).run().rounds
