"""Groups of channels and their masks, on networks small enough to know them by heart."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from seam.compaction import compact
from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.errors import SearchError
from seam.masks.channels import ScoredChannels
from seam.masks.groups import channel_groups
from seam.masks.masks import apply_masks
from seam.measures.macs import count, weight_macs
from seam.networks.build import build
from seam.networks.head import Reengineered
from seam.networks.norms import put_norm_tensors
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.runtime import start
from seam.search.mask_search import MaskSearch
from tests.seam.left_or_right import left_or_right

IMAGES = torch.zeros(2, 3, 8, 8)


class Block(nn.Module):
    """A stem of 4, a residual block with 6 inside, a depthwise convolution, a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.inner = nn.Conv2d(4, 6, 3, padding=1)
        self.outer = nn.Conv2d(6, 4, 1)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4, padding=1)
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = (x + self.outer(self.inner(x).relu())).relu()
        return self.fc(nn.functional.adaptive_avg_pool2d(self.depthwise(x), 2).flatten(1))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Block().eval()


def test_what_is_added_goes_together_and_the_classes_stay(network):
    groups = channel_groups(network, IMAGES)
    assert groups.number == 10
    stream, inner = groups.outputs["stem"], groups.outputs["inner"]
    assert len({*stream.tolist(), *inner.tolist()}) == 10
    for same in (
        groups.outputs["outer"],
        groups.inputs["inner"],
        groups.inputs["depthwise"],
        groups.outputs["depthwise"],
    ):
        assert torch.equal(same, stream)
    assert torch.equal(groups.inputs["outer"], inner)
    assert torch.equal(groups.inputs["fc"], stream.repeat_interleave(4))  # four pixels each
    assert groups.inputs["stem"].tolist() == [-1] * 3
    assert groups.outputs["fc"].tolist() == [-1] * 5


def _mask_by_hand(network, groups, kept):
    """Channel by channel: a weight stays where both its channels do."""
    masks = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            out = torch.tensor([g < 0 or kept[g] for g in groups.outputs[name].tolist()])
            into = torch.tensor([g < 0 or kept[g] for g in groups.inputs[name].tolist()])
            mask = torch.zeros_like(layer.weight, dtype=torch.bool)
            per = len(into) // layer.groups if isinstance(layer, nn.Conv2d) else len(into)
            for o in range(mask.shape[0]):
                group = o // (mask.shape[0] // layer.groups) if isinstance(layer, nn.Conv2d) else 0
                for i in range(mask.shape[1]):
                    mask[o, i] = out[o] & into[group * per + i]
            masks[f"{name}.weight"] = mask
            if layer.bias is not None:
                masks[f"{name}.bias"] = out
    return masks


def test_a_mask_keeps_the_weights_between_kept_channels(network):
    groups = channel_groups(network, IMAGES)
    scored = ScoredChannels(network, groups)
    kept = torch.tensor([1, 0, 1, 0, 1, 1, 0, 0, 1, 1], dtype=torch.bool)
    _keep_exactly(scored, kept)
    expected = _mask_by_hand(network, groups, kept.tolist())
    assert all(torch.equal(mask, expected[name]) for name, mask in scored.masks().items())
    total = sum(int(m.sum()) for m in expected.values()) / sum(m.numel() for m in expected.values())
    assert scored.density() == pytest.approx(total)


def _all_but(*removed):
    kept = torch.ones(10, dtype=torch.bool)
    kept[torch.tensor(removed)] = False
    return kept


def _spend_on(scored, kept):
    """Have a budget for just these groups."""
    scored.keep(_spent(scored, torch.ones(len(scored)), kept) / len(scored))


def _keep_exactly(scored, kept):
    """Score these groups best, and spend what they cost."""
    with torch.no_grad():
        scored.scores.copy_(kept.float())
    _spend_on(scored, kept)


def test_what_is_masked_is_what_compaction_removes(network):
    groups = channel_groups(network, IMAGES)
    scored = ScoredChannels(network, groups)
    _keep_exactly(scored, _all_but(*groups.outputs["inner"][:4], groups.outputs["stem"][1]))
    apply_masks(network, scored.masks())
    done = compact(network, IMAGES)
    assert (done.module.inner.out_channels, done.module.stem.out_channels, done.module.fc.in_features) == (2, 3, 12)
    images = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(done.module(images), network(images), atol=1e-5, rtol=1e-5)


def test_the_signal_is_the_gradient_with_respect_to_a_gate(network):
    """Finite differences are no help (the gate is binary), so the gates are written into the network as factors."""
    groups = channel_groups(network, IMAGES)
    scored = ScoredChannels(network, groups)
    kept = _all_but(groups.outputs["inner"][0])
    _keep_exactly(scored, kept)
    scored.refresh()
    images = torch.randn(4, 3, 8, 8)
    torch.func.functional_call(network, scored.effective, (images,)).square().sum().backward()
    gates = kept.float().requires_grad_()
    always = torch.cat([gates, torch.ones(1)])
    weights = {}
    for name, parameter in network.named_parameters():
        layer, _, kind = name.rpartition(".")
        if layer == "norm":
            continue
        made = always[groups.outputs[layer]]
        if kind == "bias":
            weights[name] = parameter.detach() * made
            continue
        read = always[groups.inputs[layer]]
        read = read.view(-1, 1) if layer == "depthwise" else read.view(1, -1)
        weights[name] = parameter.detach() * (made[:, None] * read).view(
            parameter.shape[0], parameter.shape[1], *[1] * (parameter.ndim - 2)
        )
    torch.func.functional_call(network, weights, (images,)).square().sum().backward()
    torch.testing.assert_close(scored.signal(), gates.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("budget", [0.1, 0.3, 0.7, 1.0])
def test_as_many_groups_are_kept_as_the_budget_pays_for(network, budget):
    scored = ScoredChannels(network, channel_groups(network, IMAGES))
    with torch.no_grad():
        scored.scores.copy_(torch.rand(10, generator=torch.Generator().manual_seed(1)))
    costs = scored.spread(weight_macs(network, torch.zeros(1, 3, 8, 8)))
    scored.keep(budget, costs)
    kept = scored._open[:-1].clone()
    assert _spent(scored, costs, kept) <= max(budget * float(costs.sum()), _least(scored, costs)) * (1 + 1e-6)
    for group in (~kept).nonzero():  # one more, whichever, would be too much
        more = kept.clone()
        more[group] = True
        assert _spent(scored, costs, more) > budget * float(costs.sum())


def test_the_best_come_first_and_what_is_too_dear_is_passed_by(network):
    """A channel of the stream is in every layer; the six inside are cheap."""
    groups = channel_groups(network, IMAGES)
    scored = ScoredChannels(network, groups)
    inner, stream = groups.outputs["inner"], groups.outputs["stem"]
    with torch.no_grad():
        scored.scores[stream] = torch.tensor([0.9, 0.8, 0.7, 0.6])
        scored.scores[inner] = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.85])
    costs = scored.spread(weight_macs(network, torch.zeros(1, 3, 8, 8)))
    wanted = _all_but(*stream[1:], *inner[:4])
    budget = _spent(scored, costs, wanted) / float(costs.sum())
    scored.keep(budget, costs)
    assert torch.equal(scored._open[:-1], wanted)


def _spent(scored, costs, kept):
    """What the weights between these groups and what always stays cost."""
    return scored._spent(torch.cat([kept, torch.ones(1, dtype=torch.bool)]), scored._of_pairs(costs))


def _least(scored, costs):
    """With only the best channel of each layer that cannot do without."""
    return scored._spent(scored._leaders(scored.scores), scored._of_pairs(costs))


def test_the_inside_of_a_residual_block_is_dispensable(network):
    groups = channel_groups(network, IMAGES)
    assert groups.dispensable == {"inner"}
    scored = ScoredChannels(network, groups)
    _keep_exactly(scored, _all_but(*groups.outputs["inner"]))
    apply_masks(network, scored.masks())
    done = compact(network, IMAGES)
    assert not any(isinstance(layer, nn.Conv2d) and layer.out_channels == 6 for layer in done.module.modules())
    images = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(done.module(images), network(images), atol=1e-5, rtol=1e-5)
    assert network(images).std(0).sum() > 0.01  # it still depends on the image


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("resnet20_a", {f"layer{i}.{j}.conv1" for i in (1, 2, 3) for j in (0, 1, 2)}),
        ("vgg16_bn_cifar", set()),
        (
            "torchvision:mobilenet_v2",
            {f"features.{i}.conv.{j}.0" for i in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16) for j in (0, 1)},
        ),
        ("torchvision:squeezenet1_1", {f"features.{i}.expand1x1" for i in (3, 4, 6, 7, 9, 10, 11, 12)}),
    ],
)
def test_what_may_go_altogether(architecture, expected):
    """Of a product both factors are needed (gates), of a sum or concatenation one part.

    Never so many that nothing is left.
    """
    network = build(architecture, 10).eval()
    assert channel_groups(network, torch.rand(2, 3, 32, 32)).dispensable == expected


def test_every_layer_keeps_its_best_channel(network):
    groups = channel_groups(network, IMAGES)
    scored = ScoredChannels(network, groups)
    with torch.no_grad():
        scored.scores.copy_(torch.arange(10.0))
    scored.keep(1e-6)
    made = scored.masks()["stem.weight"].flatten(1).any(1)
    assert made.tolist() == [g == groups.outputs["stem"].max() for g in groups.outputs["stem"]]
    assert not scored.masks()["inner.weight"].any()  # the block's input goes past it


def test_channels_stay_and_go_in_blocks_best_with_best(network):
    """Of 6 channels inside, in blocks of 4: the four best and the other two; of the stream's 4, all."""
    groups = channel_groups(network, IMAGES)
    scored = ScoredChannels(network, groups, block=4)
    inner, stream = groups.outputs["inner"], groups.outputs["stem"]
    with torch.no_grad():
        scored.scores[inner] = torch.tensor([0.9, 0.1, 0.5, 0.7, 0.3, 0.6])
        scored.scores[stream] = torch.tensor([0.0, 0.1, 0.2, 0.9])
    assert scored._block_scores()[inner].tolist() == pytest.approx([0.675, 0.2, 0.675, 0.675, 0.2, 0.675])
    assert scored._block_scores()[stream].tolist() == pytest.approx([0.3] * 4)
    _spend_on(scored, scored._block_scores() > 0.25)
    assert scored.masks()["inner.weight"].flatten(1).any(1).tolist() == [True, False, True, True, False, True]
    _spend_on(scored, scored._block_scores() > 0.5)  # a layer's best block stays, whatever it scores
    assert scored.masks()["stem.weight"].all()


def test_a_search_in_blocks_leaves_multiples_of_a_block_on_a_real_architecture():
    torch.manual_seed(0)
    network, images = build("resnet20_a", 10).eval(), torch.rand(2, 3, 32, 32)
    scored = ScoredChannels(network, channel_groups(network, images), block=8)
    with torch.no_grad():
        scored.scores.copy_(torch.rand(len(scored.scores), generator=torch.Generator().manual_seed(0)))
    costs = scored.spread(weight_macs(network, images[:1]))
    scored.keep(0.4, costs)
    assert 0.25 * float(costs.sum()) < float((costs * scored.mask()).sum()) <= 0.4 * float(costs.sum())
    apply_masks(network, scored.masks())
    small = compact(network, images).module
    widths = [layer.out_channels for layer in small.modules() if isinstance(layer, nn.Conv2d)]
    assert all(width % 8 == 0 for width in widths)
    assert len(set(widths)) > 1


@pytest.mark.parametrize("architecture", ["resnet20", "resnet20_a", "vgg16_bn_cifar"])
def test_built_in_networks_have_groups_and_half_of_them_can_go(architecture):
    torch.manual_seed(0)
    network, images = build(architecture, 10).eval(), torch.rand(2, 3, 32, 32)
    scored = ScoredChannels(network, channel_groups(network, images))
    with torch.no_grad():
        scored.scores.copy_(torch.rand(len(scored.scores), generator=torch.Generator().manual_seed(0)))
    scored.keep(0.5, scored.spread(weight_macs(network, images[:1])))
    apply_masks(network, scored.masks())
    done = compact(network, images)
    assert count(done.module, images[:1]).macs_dense < 0.53 * count(network, images[:1]).macs_dense
    torch.testing.assert_close(done.module(images), network(images), atol=1e-4, rtol=1e-4)


def test_a_network_whose_channels_cannot_be_followed_is_named():
    class Loop(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(SearchError, match=r"search\.structure channels: the channels of Loop cannot be followed"):
        channel_groups(Loop(), IMAGES)
    with pytest.raises(
        SearchError, match=r"none of the channels of Sequential can be removed; use search\.structure: weights"
    ):
        channel_groups(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), IMAGES)


CONFIG = SearchConfig(
    structure="channels",
    channel_block=1,
    cost="macs",
    target=0.3,
    batch_size=16,
    max_rounds=12,
    augment="none",
    accuracy_floor=0.0,
)


def _search(network, config=CONFIG):
    preprocess, runtime = (
        Preprocess((0.3,) * 3, (0.3,) * 3),
        start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64),
    )
    macs = weight_macs(network, torch.zeros(1, 3, 8, 8))
    return MaskSearch(network, preprocess, left_or_right(0), left_or_right(1), 2, config, runtime, 3, 0.9, macs)


def test_a_search_over_channels_keeps_the_accuracy_and_the_target(network):
    result = _search(network).run()
    assert result.best.val_accuracy >= 0.9
    apply_masks(network, result.masks)
    put_norm_tensors(network, result.norms)
    model = Reengineered(network, result.head)
    preprocess = Preprocess((0.3,) * 3, (0.3,) * 3)
    assert accuracy(predict(model, left_or_right(1), preprocess), left_or_right(1).labels) == result.best.val_accuracy
    before, after = (count(n, torch.zeros(1, 3, 8, 8)).macs_dense for n in (Block(), compact(network, IMAGES).module))
    assert after < 0.45 * before  # 0.3 of the layers' multiply-adds; norms and pooling are counted too


def test_a_killed_search_over_channels_continues_to_the_same_result(network, tmp_path, monkeypatch):
    monkeypatch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)

    def stop(found):
        if found.round == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _search(network).run(tmp_path / "state", stop)
    resumed, whole = _search(network).run(tmp_path / "state"), _search(network).run()
    assert resumed.rounds == whole.rounds
    assert all(torch.equal(resumed.masks[k], whole.masks[k]) for k in whole.masks)


def test_structure_needs_a_budget():
    with pytest.raises(ValueError, match="structure channels needs method budget"):
        replace(CONFIG, method="drift")
