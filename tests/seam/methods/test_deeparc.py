"""DeepArc: which blocks are redundant, which go, which train; and what its controls are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from seam.compaction.blocks import Block, find_blocks
from seam.compaction.blocks import Chain as Blocks
from seam.configs.check import ConfigValueError
from seam.configs.methods import PartlyConfig, RestructureConfig
from seam.errors import DataError, SourceError, SuspectResultWarning
from seam.methods.deeparc import Segments, choose, needing, restructure, segments, with_attacked
from seam.methods.protocol import Target, Watch
from seam.methods.restructuring import beside, few, random_choices, share_of, step_cost, within_share
from seam.networks.source import Preprocess
from seam.training.loop import Epoch
from tests.seam.blocks import Chain, Residual, drawn
from tests.seam.methods.small import RUNTIME, data

GREY = Preprocess((0.5,) * 3, (0.25,) * 3)
TRAIN, VAL = data(80, 0, 4), data(40, 1, 4)
TARGET = Target(TRAIN, VAL, GREY, 4)
CONFIG = RestructureConfig(
    threshold=0.5, images=40, batch_size=20, random_draws=3, training=PartlyConfig(epochs=2, batch_size=16, lr=0.01)
)


def with_idle_block() -> Chain:
    """A trained chain of whose blocks `rest.1` does nothing but what its ReLU has done already."""
    torch.manual_seed(0)
    network = Chain(4)
    nn.init.zeros_(network.rest[1].norm.weight)
    optimizer = torch.optim.Adam([p for n, p in network.named_parameters() if not n.startswith("rest.1")], 0.01)
    for _ in range(8):
        loss = nn.functional.cross_entropy(network(GREY(TRAIN.images)), TRAIN.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def test_of_a_segment_all_but_the_first_are_redundant_where_they_can_go() -> None:
    blocks = tuple(Block(name, name != "c", 1) for name in "abcde")
    near = torch.eye(6)
    for i, value in enumerate([0.5, 0.95, 0.97, 0.91, 0.99]):
        near[i, i + 1] = near[i + 1, i] = value
    found = Segments(Blocks(blocks, "fc"), near, ((0, 1), (1, 4), (4, 6)))
    assert found.redundant == ("e", "b"), "a and d begin a segment, c cannot go; the most alike come first"


def test_a_block_that_does_nothing_is_found_and_goes_first() -> None:
    network = with_idle_block()
    found = segments(network, TRAIN, GREY, replace(CONFIG, threshold=0.999))
    assert found.redundant[0] == "rest.1"
    assert choose(network, found.redundant, TARGET, replace(CONFIG, blocks=1)) == ("rest.1",)
    made = restructure(network, TARGET, replace(CONFIG, threshold=0.999, max_drop=0.0), RUNTIME, 0)
    assert "rest.1" in made.change.removed
    assert made.change.val_accuracy_before >= made.source_val_accuracy


def test_removals_stop_where_accuracy_falls_too_far_or_at_their_number() -> None:
    network = with_idle_block()
    every = ("first", "rest.0", "rest.1")
    assert choose(network, every, TARGET, replace(CONFIG, blocks=2))[-1] == "rest.1"
    assert len(choose(network, every, TARGET, replace(CONFIG, max_drop=1.0))) == 3
    assert len(choose(network, every, TARGET, replace(CONFIG, blocks=9))) == 3
    assert choose(network, (), TARGET, CONFIG) == ()


def test_neighbours_of_what_went() -> None:
    chain = Blocks(tuple(Block(name, True, 1) for name in "abcdef"), "fc")
    assert beside(chain, ("c", "d")) == ("e", "b")
    assert beside(chain, ("f",)) == ("e",)
    assert beside(chain, ("a", "d")) == ("b", "e", "c")
    assert beside(chain, ()) == ()


def test_what_trains_stays_within_its_share_with_one_block_at_least() -> None:
    network = drawn(Chain())
    sizes = {n: share_of(network, [n]) for n in ("fc", "first", "wider", "rest.0")}
    assert (
        sum(p.numel() for p in network.first.parameters()) / sum(p.numel() for p in network.parameters())
        == (sizes["first"])
    )
    fits = sizes["fc"] + sizes["first"] + 1e-9
    assert within_share(network, ("wider", "first", "rest.0"), "fc", fits) == ("fc", "first")
    assert within_share(network, ("wider", "first"), "fc", 1.0) == ("fc", "wider", "first")
    assert within_share(network, ("wider", "first"), "fc", 1e-6) == ("fc", "first")


def test_what_a_step_computes_by_hand() -> None:
    """Multiply-adds of the stem, the gate, the blocks and the classifier at 8 x 8 pixels."""
    network = drawn(Chain())
    chain = find_blocks(network, GREY(TRAIN.images[:2]))
    stem, gate, first = 64 * 3 * 8 * 9, 8 * 8, 64 * 8 * 8 * 9
    wider, rest, head = 64 * 8 * 12 * (9 + 1), 64 * 12 * 12 * 9, 12 * 4
    total = stem + gate + first + wider + 2 * rest + head
    image = GREY(TRAIN.images[:1])
    after = total - stem - gate - first - wider
    found = step_cost(network, chain, ("rest.0", "fc"), image, taught=True)
    assert found == pytest.approx(2 + (after + rest + head) / total)
    assert step_cost(network, chain, ("",), image, taught=False) == 3
    assert step_cost(network, chain, ("fc",), image, taught=False) == pytest.approx(1 + 2 * head / total)


def test_compress_trains_the_neighbours_and_shows_its_controls(tmp_path: Path) -> None:
    network = with_idle_block()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    config, told = replace(CONFIG, blocks=1, trained_share=0.6), list[Epoch]()
    made = restructure(network, TARGET, config, RUNTIME, 0, Watch(tmp_path, on_epoch=told.append))
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert made.change.removed == ("rest.1",) and set(made.change.trained) == {"fc", "rest.0"}
    after = made.network.state_dict()
    parts = ("fc.", "rest.0.")
    assert all(torch.equal(v, before[k]) for k, v in after.items() if not k.startswith(parts))
    assert any(not torch.equal(v, before[k]) for k, v in after.items() if k.startswith(parts))
    assert [c.name for c in made.controls] == ["random"] * 3 + ["last", "full"]
    last, full = made.controls[-2:]
    assert last.removed == ("rest.1",) and full.removed == ("rest.1",) and full.trained == ("",)
    assert full.trained_share == 1.0 > made.change.trained_share == share_of(made.network, ["fc", "rest.0"])
    assert len(full.epochs) - 1 == 2, "1 + 1 + about a half each of 4: 1.3 epochs and more, rounded up"
    assert len(told) == 2 + 2 + 2
    again = restructure(network, TARGET, config, RUNTIME, 0, Watch(tmp_path, on_epoch=told.append))
    assert len(told) == 6, "a finished training is not repeated"
    assert all(torch.equal(v, after[k]) for k, v in again.network.state_dict().items())
    still = restructure(network, TARGET, replace(config, training=PartlyConfig(epochs=0)), RUNTIME, 0)
    assert still.change.removed == ("rest.1",) and still.change.epochs == ()
    alone = restructure(network, TARGET, replace(config, controls=False, random_draws=0), RUNTIME, 0)
    assert alone.controls == () and all(torch.equal(v, after[k]) for k, v in alone.network.state_dict().items())


def test_random_draws_are_as_many_blocks_that_can_go_and_follow_the_seed() -> None:
    chain = find_blocks(drawn(Chain()), GREY(TRAIN.images[:2]))
    drawn_ = random_choices(chain, 2, replace(CONFIG, random_draws=10), 3)
    assert len(drawn_) == 10 and all(len(set(d)) == 2 and set(d) <= set(chain.removable) for d in drawn_)
    assert (
        drawn_
        == random_choices(chain, 2, replace(CONFIG, random_draws=10), 3)
        != random_choices(chain, 2, replace(CONFIG, random_draws=10), 4)
    )


def test_nothing_redundant_is_a_doubt_and_the_network_as_it_was() -> None:
    network = drawn(Chain())
    with pytest.warns(SuspectResultWarning, match=r"^nothing was removed: no block repeats.* lower the threshold\.$"):
        made = restructure(network, TARGET, replace(CONFIG, threshold=0.99999999), RUNTIME, 0)
    assert made.change.removed == made.change.trained == () == made.controls
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in made.network.state_dict().items())


def test_blocks_that_are_alike_and_needed_stay_with_a_doubt() -> None:
    network, config = with_idle_block(), replace(CONFIG, max_drop=0.0)
    nn.init.normal_(network.rest[1].norm.weight, std=9.0)
    nn.init.normal_(network.rest[1].norm.bias, std=9.0)
    head = nn.functional.linear
    with torch.no_grad():
        values = network.rest(network.wider(network.first(network.gate(network.stem(GREY(TRAIN.images)))))).mean((2, 3))
        fitted = torch.linalg.lstsq(values - values.mean(0), torch.eye(4)[TRAIN.labels] - 0.25).solution.T
        network.fc.weight.copy_(fitted)
        network.fc.bias.copy_(-head(values.mean(0), fitted))
    with pytest.warns(SuspectResultWarning, match=r"^nothing was removed: accuracy on val falls too far without any"):
        made = restructure(network, TARGET, replace(config, threshold=0.0), RUNTIME, 0)
    assert made.change.removed == ()


class Scrambled(Residual):
    """A block that forgets: it gives the images' values in a drawn order of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[torch.randperm(len(x), generator=torch.Generator().manual_seed(5))]


def test_repair_trains_the_block_after_which_classes_are_lost() -> None:
    network = with_idle_block()
    network.rest.add_module("0", Scrambled(12).eval())
    found = segments(network, TRAIN, GREY, CONFIG)
    config = replace(CONFIG, aim="repair", trained_share=0.4, controls=False)
    assert needing(network, found, TARGET, config)[0] == "rest.0"
    made = restructure(network, TARGET, config, RUNTIME, 0)
    assert made.change.removed == () and "rest.0" in made.change.trained
    assert made.change.trained_share <= 0.4


def test_adversarial_learns_from_attacked_images_too() -> None:
    network = with_idle_block()
    doubled = with_attacked(network, TARGET, CONFIG)
    assert (len(doubled.train), len(doubled.val)) == (80, 80)
    clean = few(TRAIN, 40)
    assert torch.equal(doubled.train.images[:40], clean.images)
    change = (doubled.train.images[40:].int() - clean.images.int()).abs()
    assert 0 < int(change.max()) <= 8
    made = restructure(network, TARGET, replace(CONFIG, aim="adversarial"), RUNTIME, 0)
    assert made.change.removed == () and [c.name for c in made.controls] == ["full"]
    floats = Target(TRAIN, VAL, nn.Identity(), 4)
    with pytest.raises(DataError, match=r"^attacks: expected uint8 images"):
        with_attacked(network, floats, CONFIG)


def test_bad_input_is_one_line() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 4)).eval()
    with pytest.raises(SourceError, match=r"^Sequential: expected residual blocks, .* got none that can be removed"):
        restructure(plain, TARGET, CONFIG, RUNTIME, 0)
    with pytest.raises(DataError, match="at least 4 images, got 3"):
        segments(drawn(Chain()), few(TRAIN, 3), GREY, CONFIG)
    for values in ({"threshold": 1.0}, {"threshold": -0.1}, {"images": 3}, {"batch_size": 7}, {"blocks": 0}):
        with pytest.raises(ConfigValueError, match=next(iter(values))):
            RestructureConfig(**values)
