"""Searches carried along together against the same searches alone."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.data.images import LabelledImages
from seam.errors import SearchError
from seam.masks.scores import refresh
from seam.networks.norms import use_batch_statistics
from seam.networks.source import Preprocess
from seam.runtime import start
from seam.search.images import StackedImages
from seam.search.mask_search import MaskSearch
from seam.search.problem import SearchProblem
from seam.search.stacked import StackedObjective
from seam.search.together import bytes_needed, how_many_fit, search_rounds_together

CONFIG = SearchConfig(target=0.2, batch_size=16, max_rounds=6, augment="crop")
DRIFT = replace(CONFIG, method="drift", lr_scores=0.1, patience=2, max_rounds=12)
RUNTIME = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)


@pytest.fixture(autouse=True)
def _every_round_is_saved(monkeypatch):
    monkeypatch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)


def _network():
    torch.manual_seed(0)
    stem = [
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
    ]
    return nn.Sequential(*stem, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)).eval()


def _images(problem, seed, count):
    """Images of the problem have one bright quarter."""
    generator = torch.Generator().manual_seed(10 * problem + seed)
    labels = torch.arange(count) % 2
    images = torch.randint(0, 150, (count, 8, 8, 1), generator=generator)
    top, left = 4 * (problem // 2), 4 * (problem % 2)
    images[labels == 0, top : top + 4, left : left + 4] += 100
    return LabelledImages(images.to(torch.uint8), labels)


def _search(problem, config=CONFIG, count=72, num_classes=2, network=_network):
    spare = _images(problem, 2, 40) if config.negatives == "redrawn" else None
    train, val, preprocess = _images(problem, 0, count), _images(problem, 1, 64), Preprocess((0.3,) * 3, (0.3,) * 3)
    sought = SearchProblem(network(), preprocess, train, val, num_classes, source_val_accuracy=0.9, spare=spare)
    return MaskSearch(sought, config, RUNTIME, 3 + problem)


@pytest.mark.parametrize(
    "config", [CONFIG, replace(CONFIG, norm_layers="frozen"), DRIFT], ids=["budget", "frozen", "drift"]
)
def test_each_finds_what_it_finds_alone(config, tmp_path):
    alone = {name: _search(i, config).run() for i, name in enumerate("abc")}
    checkpoints = {name: tmp_path / name for name in "abc"}
    search_rounds_together({name: _search(i, config) for i, name in enumerate("abc")}, checkpoints)
    for i, name in enumerate("abc"):
        finished = _search(i, config)
        assert not finished.loop.rounds
        result = finished.run(checkpoints[name])
        assert [r.density for r in result.rounds] == pytest.approx([r.density for r in alone[name].rounds], abs=0.01)
        assert [r.cross_entropy for r in result.rounds] == pytest.approx(
            [r.cross_entropy for r in alone[name].rounds], rel=0.02
        )
        same = [(result.masks[k] == alone[name].masks[k]).float().mean() for k in result.masks]
        assert min(same) > 0.97
        for k, tensor in result.norms.items():
            torch.testing.assert_close(tensor, alone[name].norms[k], atol=0.02, rtol=0.05)
    assert len({str(m.masks["0.weight"].flatten().tolist()) for m in alone.values()}) == 3, (
        "the problems differ, or the test says nothing"
    )


def test_gradients_of_one_step_are_those_of_a_step_alone():
    together, alone = [_search(i) for i in range(3)], [_search(i) for i in range(3)]
    stack = StackedObjective([s.objective for s in together])
    images, labels = next(StackedImages([s.loop.images for s in together]).epoch(0))
    for search in (*together, *alone):
        use_batch_statistics(search.objective.network, True)
    refresh(stack.scored)
    losses = stack.descend(images, labels)
    for i, search in enumerate(alone):
        batch = next(search.loop.images.epoch(0))
        assert torch.equal(images[i], batch[0]) and torch.equal(labels[i], batch[1])
        own = search.objective
        refresh(own.scored)
        torch.testing.assert_close(own.descend(*batch), losses[i])
        torch.testing.assert_close(own.scored.effective.gradient, stack.scored.effective.gradient[i])
        assert float(own.scored.effective.gradient.abs().max()) > 0
        for mine, all_ in zip((*own.norms, *own.head.parameters()), (*stack.norms, *stack.head), strict=True):
            torch.testing.assert_close(mine.grad, all_.grad[i])


def test_problems_may_differ_in_their_number_of_classes(tmp_path):
    searches = {"a": _search(0), "b": _search(1, num_classes=3)}
    search_rounds_together(searches, {name: tmp_path / name for name in searches})
    assert all(s.loop.ended() for s in searches.values())


def test_a_killed_group_continues(tmp_path):
    def stop(name, found):
        if found.round == 3:
            raise KeyboardInterrupt

    checkpoints = {name: tmp_path / name for name in "ab"}
    with pytest.raises(KeyboardInterrupt):
        search_rounds_together({"a": _search(0), "b": _search(1)}, checkpoints, stop)
    seen = []
    search_rounds_together(
        {"a": _search(0), "b": _search(1)}, checkpoints, lambda name, found: seen.append((name, found.round))
    )
    assert seen == [(name, i) for i in (4, 5) for name in "ab"]
    undisturbed = {"a": _search(0), "b": _search(1)}
    search_rounds_together(undisturbed, {name: tmp_path / f"other-{name}" for name in "ab"})
    resumed = _search(1)
    resumed.loop.resume(checkpoints["b"])
    assert torch.equal(resumed.objective.scored.scores, undisturbed["b"].objective.scored.scores)


def test_time_is_shared_out(tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("seam.search.together.time.perf_counter", lambda: float(next(ticks)))
    searches = {name: _search(i) for i, name in enumerate("abcd")}
    search_rounds_together(searches, {name: tmp_path / name for name in searches})
    # one look at the clock as a round begins, one as it ends, and a quarter of that each
    assert {name: s.loop.seconds for name, s in searches.items()} == dict.fromkeys("abcd", CONFIG.max_rounds / 4)


def test_searches_of_other_sizes_are_refused(tmp_path):
    searches = {"a": _search(0), "b": _search(1, count=80)}
    with pytest.raises(
        SearchError, match=r"expected equally many training images.*got a \(72, 16, \d+\), b \(80, 16, \d+\)"
    ):
        search_rounds_together(searches, {name: tmp_path / name for name in searches})


class Moody(nn.Module):
    """Looks at a value, which a stack of problems does not have."""

    def __init__(self):
        super().__init__()
        self.layers = _network()

    def forward(self, x):
        return self.layers(x) if float(x.detach().abs().sum()) >= 0 else x


def test_a_network_that_cannot_be_stacked_is_named(tmp_path):
    searches = {name: _search(i, network=lambda: Moody().eval()) for i, name in enumerate("ab")}
    with pytest.raises(
        SearchError, match=r"Moody cannot be run for several problems at once .* search for one problem at a time"
    ):
        search_rounds_together(searches, {name: tmp_path / name for name in searches})


def test_as_many_go_together_as_fit_into_memory(monkeypatch):
    search = _search(0)
    activations = 16 * 64 * 8 * 4  # one image batch after one layer
    assert bytes_needed(search) > 4 * activations + 8 * search.objective.scored.effective.weights.nbytes
    monkeypatch.setattr("seam.search.together._free_bytes", lambda device: 10 * bytes_needed(search))
    assert how_many_fit(search) == 1 + 7
    monkeypatch.setattr("seam.search.together._free_bytes", lambda device: 0)
    assert how_many_fit(search) == 1
