"""Searches carried along together against the same searches alone."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.data.images import LabelledImages
from seam.errors import SearchError
from seam.masks.scores import refresh
from seam.networks.norms import use_batch_statistics
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.runtime import start
from seam.search.images import StackedImages
from seam.search.mask_search import MaskSearch
from seam.search.problem import SearchProblem
from seam.search.stacked import StackedObjective
from seam.search.together import Together, bytes_needed, how_many_fit, search_rounds_together

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


def _of_free_channels():
    """Each of its eight channels a layer may go, since no convolution has groups."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)).eval()


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


def _near(search, other):
    """As near as searches of the same seed come that ran together and alone."""
    assert [r.cross_entropy for r in search.loop.rounds] == pytest.approx(
        [r.cross_entropy for r in other.loop.rounds], rel=0.02
    )
    assert (search.objective.scored.mask() == other.objective.scored.mask()).float().mean() > 0.97


def test_whole_channels_are_searched_together_too(tmp_path):
    config = replace(CONFIG, structure="channels", channel_block=2, target=0.6)
    together, alone = (
        {name: _search(i, config, network=_of_free_channels) for i, name in enumerate("ab")} for _ in range(2)
    )
    search_rounds_together(together, {name: tmp_path / name for name in "ab"})
    for name, search in alone.items():
        search.loop.run()
        _near(together[name], search)
        assert search.loop.rounds[-1].density < 1


def test_one_that_is_ahead_is_caught_up_with(tmp_path):
    alone = {name: _search(i) for i, name in enumerate("ab")}
    alone["b"].loop.resume(tmp_path / "b")
    for _ in range(2):
        alone["b"].loop.next_round()
    alone["b"].loop.save(tmp_path / "b")
    seen = []
    together = {name: _search(i) for i, name in enumerate("ab")}
    checkpoints = {name: tmp_path / name for name in "ab"}
    search_rounds_together(together, checkpoints, lambda name, found: seen.append((name, found.round)))
    assert seen == [("a", 0), ("a", 1), *((name, i) for i in range(2, 6) for name in "ab")]
    for name, search in alone.items():
        search.loop.run()
        _near(together[name], search)


def test_a_search_goes_on_alone_from_where_it_was_together():
    """The same result as together all the way: state, optimizer included, is handed back whole."""
    searches, others = ([_search(i) for i in range(2)] for _ in range(2))
    halfway, whole = Together(searches), Together(others)
    for _ in range(3):
        halfway.next_round()
    halfway.hand_back()
    for _ in range(6):
        whole.next_round()
    whole.hand_back()
    for search, other in zip(searches, others, strict=True):
        search.loop.run()
        _near(search, other)
        states = [s.loop.dynamics.tensors() for s in (search, other)]
        assert states[0].keys() == states[1].keys()
        steps = [name for name in states[0] if name.endswith(".step")]
        assert steps and all(torch.equal(states[0][name], states[1][name]) for name in steps)
        torch.testing.assert_close(states[0]["momentum"], states[1]["momentum"], rtol=0.1, atol=1e-3)


class _Operations(TorchDispatchMode):
    """Counts what is computed, but for views; and how often a value is waited for."""

    def __init__(self):
        super().__init__()
        self.number, self.waits = 0, 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        made = function(*arguments, **(keywords or {}))
        self.number += not function.is_view
        self.waits += function is torch.ops.aten._local_scalar_dense.default
        return made


def test_more_problems_take_hardly_more_operations():
    found = {}
    for count in (2, 8):
        together = Together([_search(i) for i in range(count)])
        together.next_round()
        with _Operations() as operations:
            together.next_round()
        found[count] = operations
    steps = _search(0).loop.images.steps
    more = (found[8].number - found[2].number) / 6 / steps
    assert found[2].number / steps > 50
    assert more < 5, (
        "of each further problem, a step: its images are fetched, and its share of an epoch's order is drawn"
    )
    assert found[8].waits == found[2].waits


def test_val_images_are_counted_as_many_as_each_problem_has():
    searches = [_search(i) for i in range(3)]
    for search, fewer in zip(searches, (0, 5, 37), strict=True):
        val = search.loop.images.val
        own = LabelledImages(val.images[fewer:], val.labels[fewer:])
        search.loop.images = replace(search.loop.images, val=own)
    stack = StackedObjective([s.objective for s in searches])
    refresh(stack.scored)
    found = stack.accuracies(StackedImages([s.loop.images for s in searches]), 24)
    for search, accuracy_together in zip(searches, found.tolist(), strict=True):
        refresh(search.objective.scored)
        images = search.loop.images
        logits = predict(search.objective.logits, images.val, images.preprocess)
        assert accuracy_together == accuracy(logits, images.val.labels)


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


def test_searches_that_move_differently_are_refused(tmp_path):
    searches = {"a": _search(0), "b": _search(1, replace(CONFIG, target=0.3))}
    with pytest.raises(SearchError, match="expected one config for all, got several"):
        search_rounds_together(searches, {name: tmp_path / name for name in searches})


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
