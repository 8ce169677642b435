"""Smaller networks: the same function on every architecture, and which channels must go or stay, counted by hand."""

import copy
import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seam.compaction import compact
from seam.inference.export import export_onnx
from seam.masks.masks import apply_masks, maskable
from seam.measures.macs import count
from seam.networks.build import build
from seam.networks.head import Reengineered, TargetHead
from tests.seam.masks.test_architectures import ARCHITECTURES, SMALL_VIT

BUILT_IN = ("resnet20", "resnet20_a", "vgg16_bn_cifar")
HEAVY = ("convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "regnet_y_400mf", "resnet50", "swin_t")
RATES = {"nothing": 0.0, "half": 0.5, "most": 0.9, "nearly all": 0.99, "half the filters": 0.5, "most filters": 0.9}
IMAGES = (2, 3, 8, 8)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def _settled(network, images):
    """As if trained: statistics of these images and a random affine map in every BatchNorm, no weight exactly zero."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.momentum = 1.0
                for parameter, low, high in zip(module.parameters(), (0.5, -0.5), (1.5, 0.5), strict=False):
                    parameter.uniform_(low, high)
        for parameter in maskable(network).values():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        network.train()(images)
    return network.eval()


def _masked(network, kind):
    """A copy with weights removed everywhere but in the last layer, so that there is an output to compare."""
    network = copy.deepcopy(network)
    parameters = {name: p for name, p in maskable(network).items() if not name.startswith("aux")}
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in parameters))
    dead = (layers[len(layers) // 4], layers[len(layers) // 2], layers[-2])
    masks = {}
    for name, parameter in parameters.items():
        layer, own = name.rpartition(".")[0], parameter.dim() > 1
        if kind == "three layers":
            mask = torch.full(parameter.shape, layer not in dead)
        elif "filters" in kind:  # half: their biases stay; most: they go
            mask = (
                (torch.rand(len(parameter)) >= RATES[kind])
                .view(-1, *[1] * (parameter.dim() - 1))
                .expand(parameter.shape)
            )
            mask = mask if own or kind == "most filters" else torch.ones_like(mask)
        else:
            mask = torch.rand(parameter.shape) >= RATES[kind]
        if layer != layers[-1]:
            masks[name] = mask
    apply_masks(network, masks)
    return network


def _size(network):
    return sum(p.numel() for p in network.parameters())


@torch.no_grad()
def _same(network, smaller, images):
    expected = network.eval()(images)
    assert torch.isfinite(expected).all()
    torch.testing.assert_close(smaller(images), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def _compacted(network, shape=IMAGES):
    """Compacts, and compares on other images, of another batch size, than the example."""
    done = compact(network, torch.randn(shape))
    assert "" not in done.kept, done.kept
    assert not done.module.training
    assert not any(p.requires_grad for p in done.module.parameters())
    _same(network, done.module, torch.randn(3, *shape[1:]))
    return done


def _conforms(network, side, kinds, exported_to=None):
    network = _settled(network, torch.randn(8, 3, side, side))
    for kind in kinds:
        masked = _masked(network, kind)
        done = _compacted(masked, (2, 3, side, side))
        assert all(done.kept.values())
        sizes = {name: m.weight.shape[0] for name, m in masked.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
        smaller = dict(done.module.named_modules())
        for name, removed in done.removed.items():
            left = smaller[name].weight.shape[0] if name in smaller and hasattr(smaller[name], "weight") else 0
            assert left == sizes.get(name, removed) - removed, (kind, name)
        if kind == "nothing":
            assert (done.removed, done.kept) == ({}, {})
        if "filters" in kind:
            assert _size(done.module) < 0.95 * _size(masked)
            assert len(done.removed) > 1
        if kind == "half the filters" and exported_to:
            assert export_onnx(done.module, torch.randn(1, 3, side, side), exported_to) <= 1e-4


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in HEAVY])
def test_the_same_function_on_torchvisions(name, tmp_path):
    kinds = ("nothing", "half", "nearly all", "half the filters", "three layers")
    _conforms(build(f"torchvision:{name}", 10), 64, kinds, tmp_path / "m.onnx")


@pytest.mark.parametrize("name", HEAVY)
def test_the_same_function_on_larger_ones_of_torchvision(name):
    _conforms(build(f"torchvision:{name}", 10), 32, ("nearly all", "half the filters", "three layers"))


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_same_function_on_the_built_in_ones(name, tmp_path):
    _conforms(build(name, 10), 32, (*RATES, "three layers"), tmp_path / "m.onnx")


def _vision_transformer(folder):
    (folder / "small.py").write_text(SMALL_VIT)
    return build(f"{folder / 'small.py'}:vit", 10)


def test_the_same_function_on_a_vision_transformer(tmp_path):
    _conforms(_vision_transformer(tmp_path), 32, (*RATES, "three layers"), tmp_path / "m.onnx")


class Small(nn.Module):
    """Layers given by name, and a forward pass of `self` and `x`."""

    def __init__(self, forward, **layers):
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            setattr(self, name, layer)
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, x):
        return self._forward(self, x)


def _conv(inputs, outputs, size=3, **options):
    return nn.Conv2d(inputs, outputs, size, **options)


def _kill(layer, *filters, bias=0.0):
    """Zeros for filters of a layer, so that their outputs are their bias."""
    with torch.no_grad():
        for at in filters:
            layer.weight[at] = 0
            if layer.bias is not None:
                layer.bias[at] = bias


def _ignore(layer, *channels):
    with torch.no_grad():
        layer.weight[:, list(channels)] = 0


def test_weights_and_multiply_adds_shrink_as_counted_by_hand():
    layers = {"a": _conv(3, 6, bias=False), "bn": nn.BatchNorm2d(6), "b": _conv(6, 4), "fc": nn.Linear(4 * 16, 5)}
    network = Small(lambda m, x: m.fc(F.relu(m.b(F.relu(m.bn(m.a(x))))).flatten(1)), **layers)
    network = _settled(network, torch.randn(8, *IMAGES[1:]))
    _kill(network.a, 1, 4)  # then its channels 1 and 4 are what the norm makes of 0
    _kill(network.b, 3, bias=-1.0)  # then relu makes 0 of it, and the 16 positions of channel 3 are nothing
    before = count(network, torch.randn(IMAGES))
    assert before.params_total == 3 * 6 * 9 + (6 * 4 * 9 + 4) + (64 * 5 + 5)
    done = _compacted(network)
    assert (done.removed, done.kept) == ({"a": 2, "b": 1}, {})
    assert done.module.a.weight.shape == (4, 3, 3, 3)
    assert done.module.b.weight.shape == (3, 4, 3, 3)
    assert done.module.fc.weight.shape == (5, 48)
    after = count(done.module, torch.randn(IMAGES))
    assert after.params_total == (3 * 4 * 9 + 4) + (4 * 3 * 9 + 3) + (48 * 5 + 5)  # the norm is in a's new bias
    assert after.macs_dense == 36 * 3 * 4 * 9 + 16 * 4 * 3 * 9 + 48 * 5  # positions times weights
    same = [
        torch.equal(done.module.b.weight, network.b.weight[:3][:, [0, 2, 3, 5]]),
        torch.equal(done.module.fc.weight, network.fc.weight[:, :48]),
    ]
    assert same == [True, True]


def test_a_norm_is_folded_into_the_layer_that_it_alone_reads():
    def forward(m, x):
        x = m.a(x)
        y = m.norm_b(m.b(x))
        return m.norm_fc(m.fc(m.norm_sum(y + m.norm_a(x)).flatten(1)))

    layers = {"a": _conv(3, 4, bias=False), "b": _conv(4, 4, padding=1), "fc": nn.Linear(4 * 36, 5)}
    norms = {f"norm_{name}": nn.BatchNorm2d(4) for name in ("a", "b", "sum")} | {
        "norm_fc": nn.BatchNorm1d(5, affine=False)
    }
    network = _settled(Small(forward, **layers, **norms), torch.randn(8, *IMAGES[1:]))
    done = _compacted(network)
    assert (done.removed, done.kept) == ({}, {})
    assert [name for name, _ in done.module.named_children()] == [
        "a",
        "b",
        "norm_a",
        "norm_sum",
        "fc",
    ]  # a is read by b too
    with torch.no_grad():
        network.norm_b.weight.zero_()
    assert _compacted(network).removed == {"b": 4}  # scaled by zero it is constant


def test_a_norm_that_cannot_be_folded_in_float32_stays():
    network = Small(lambda m, x: m.b(m.norm(m.a(x))).flatten(1), a=_conv(3, 4), norm=nn.BatchNorm2d(4), b=_conv(4, 2))
    with torch.no_grad():
        network.a.bias.fill_(1e6)  # the norm takes away again what it rounds off
        network.norm.running_mean.fill_(1e6)
        nn.init.ones_(network.norm.weight)
    _kill(network.a, 1, bias=1e6)
    done = _compacted(network)
    assert done.removed == {"a": 1}
    assert done.module.norm.num_features == 3


def _chain(bias=2.0, padding=0, **options):
    network = Small(
        lambda m, x: m.b(F.relu(m.a(x))).mean((2, 3)), a=_conv(3, 6), b=_conv(6, 4, padding=padding, **options)
    )
    _kill(network.a, 1, 2, 4, bias=bias)
    return network


def test_constants_become_biases_where_nothing_is_padded():
    done = _compacted(_chain())
    assert done.removed == {"a": 3}
    assert done.kept == {}
    assert done.module.b.weight.shape == (4, 3, 3, 3)
    assert (done.module.a.out_channels, done.module.b.in_channels) == (3, 3)


@pytest.mark.parametrize(("multiple", "widths"), [(1, (3, 5)), (2, (4, 6)), (4, (4, 6)), (8, (6, 6))])
def test_as_many_channels_stay_as_make_a_multiple(multiple, widths):
    """6 and 6 channels, of which 3 and 5 do something; where a multiple is more than there are, all stay."""
    network = Small(
        lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))).mean((2, 3)), a=_conv(3, 6), b=_conv(6, 6), c=_conv(6, 8)
    )
    _kill(network.a, 1, 2, 4, bias=2.0)
    _kill(network.b, 3, bias=-1.0)
    images = torch.randn(2, 3, 12, 12)
    done = compact(network, images, multiple)
    assert (done.module.a.out_channels, done.module.b.out_channels) == widths
    torch.testing.assert_close(done.module(images), network.eval()(images), atol=0, rtol=1e-5)


def test_constants_before_zero_padding_become_one():
    network = _chain(padding=1)
    with torch.no_grad():
        network.a.bias[2] = 0.5
    done = _compacted(network)
    assert done.removed == {"a": 2}
    assert "padded" in done.kept["a"]


@pytest.mark.parametrize(
    "options", [{"padding_mode": "reflect", "padding": 1}, {"padding": "valid"}, {"bias": -1.0, "padding": 1}]
)
def test_constants_go_where_padding_makes_no_difference(options):
    done = _compacted(_chain(**options))
    assert (done.removed, done.kept) == ({"a": 3}, {})


def test_a_bias_is_made_where_there_was_none():
    network = Small(lambda m, x: m.b(m.a(x)).flatten(1), a=_conv(3, 4), b=_conv(4, 2, bias=False))
    _kill(network.a, 0, bias=3.0)
    done = _compacted(network)
    assert done.removed == {"a": 1}
    assert done.module.b.bias is not None


def test_what_is_not_read_goes_with_all_that_only_it_reads():
    network = Small(
        lambda m, x: m.c(m.b(m.a(x).relu()).relu()).flatten(1), a=_conv(3, 5), b=_conv(5, 4, padding=1), c=_conv(4, 2)
    )
    _ignore(network.c, 0, 3)
    with torch.no_grad():
        network.b.weight[1:3, [1, 4]] = 0  # only filters 0 and 3 read them
    assert _compacted(network).removed == {"a": 2, "b": 2}


def test_zeros_spread_forwards_through_layers():
    network = Small(lambda m, x: m.c(m.b(m.a(x).relu()).relu()).flatten(1), a=_conv(3, 5), b=_conv(5, 4), c=_conv(4, 2))
    _kill(network.a, 0, 1, bias=1.0)
    with torch.no_grad():
        network.b.weight[2, 2:] = 0  # reads only what is constant, so it is constant too
    assert _compacted(network).removed == {"a": 2, "b": 1}


def test_a_second_pass_finds_nothing_more():
    done = _compacted(
        _masked(_settled(build("resnet20", 10), torch.randn(8, 3, 32, 32)), "most filters"), (2, 3, 32, 32)
    )
    assert sum(done.removed.values()) > 400
    assert compact(done.module, torch.randn(2, 3, 32, 32)).removed == {}


def test_every_zero_filter_of_a_chain_goes_but_one_before_a_padded_layer():
    network = _masked(_settled(build("vgg16_bn_cifar", 10), torch.randn(8, 3, 32, 32)), "half the filters")
    layers = {name: m for name, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    zero = {name: int((~m.weight.flatten(1).any(1)).sum()) for name, m in layers.items()}
    done = _compacted(network, (2, 3, 32, 32))
    padded = list(zero)[:12]
    assert done.removed == {name: n - (name in padded) for name, n in zero.items() if n}
    assert list(done.kept) == padded


def _residual(**layers):
    layers = {"a": _conv(3, 6, padding=1), "b": _conv(6, 6, padding=1), "c": _conv(6, 4), **layers}

    def forward(m, x):
        x = m.a(x)
        return m.c(F.relu(m.b(x) + x)).flatten(1)

    return Small(forward, **layers)


def test_a_channel_of_a_sum_goes_when_all_that_is_added_is_constant():
    network = _residual()
    _kill(network.a, 0, 1)
    _kill(network.b, 1, 2, bias=1.0)
    done = _compacted(network)
    assert done.removed == {"a": 1, "b": 1}
    assert "'add'" in done.kept["a"] + done.kept["b"]


def test_a_channel_of_a_sum_goes_when_it_is_not_read():
    network = _residual()
    _ignore(network.c, 0, 1)
    _ignore(network.b, 0)
    done = _compacted(network)
    assert done.removed == {"a": 1, "b": 1}
    assert set(done.kept) == {"b"}  # its channel 1 exists because that of a does


def test_a_dead_branch_disappears():
    network = _residual()
    _kill(network.b, *range(6), bias=-0.5)
    done = _compacted(network)
    assert done.removed == {"b": 6}
    assert not hasattr(done.module, "b")


def test_a_dead_branch_beside_what_is_not_known_disappears():
    layers = {
        "a": _conv(3, 6),
        "norm": nn.GroupNorm(2, 6),
        "b": _conv(6, 6, 1),
        "act": nn.Softmax(1),
        "c": _conv(6, 6, 1),
        "d": _conv(6, 4),
    }
    network = Small(lambda m, x: m.d((y := m.norm(m.a(x))) + m.c(m.act(m.b(y)))).flatten(1), **layers)
    _kill(network.a, 2)
    _kill(network.c, *range(6), bias=0.5)
    done = _compacted(network)
    assert done.removed == {"b": 6, "c": 6}
    assert done.kept == {"a": "'norm' reads every channel"}
    assert [name for name, _ in done.module.named_children()] == ["a", "norm", "d"]


def test_an_addend_stays_if_the_other_is_the_same_for_all_images():
    network = Small(lambda m, x: m.c(m.a(x) + m.place).flatten(1), a=nn.Linear(8, 4), c=nn.Linear(4, 2))
    network.place = nn.Parameter(torch.randn(1, 3, 8, 4))
    _kill(network.a, *range(4), bias=1.0)
    done = compact(network, torch.randn(1, 3, 8, 8))  # a batch of one, as large as `place`
    assert done.removed == {}
    _same(network, done.module, torch.randn(5, 3, 8, 8))


def test_a_constant_that_gives_the_sum_its_shape_stays():
    network = Small(lambda m, x: (m.a(x) + F.adaptive_avg_pool2d(m.b(x), 1)).flatten(1), a=_conv(3, 4), b=_conv(3, 4))
    _kill(network.a, *range(4), bias=1.0)
    assert _compacted(network).removed == {}


def test_a_dead_residual_block_disappears(tmp_path):
    network = _settled(build("resnet20", 10), torch.randn(8, 3, 32, 32))
    with torch.no_grad():
        network.layer2[1].conv1.weight.zero_()
    done = _compacted(network, (2, 3, 32, 32))
    assert done.removed == {"layer2.1.conv1": 31}  # what it gives is constant but for the border
    with torch.no_grad():
        network.layer2[1].conv2.weight.zero_()
    done = _compacted(network, (2, 3, 32, 32))
    assert done.removed == {"layer2.1.conv1": 32, "layer2.1.conv2": 32}
    assert [name for name, _ in done.module.named_modules() if name.startswith("layer2.1.conv")] == []
    assert export_onnx(done.module, torch.randn(1, 3, 32, 32), tmp_path / "m.onnx") <= 1e-4


def test_a_factor_of_zero_makes_a_product_zero():
    def forward(m, x):
        x = m.a(x)
        return m.c(x * F.relu(m.scale(F.adaptive_avg_pool2d(x, 1)))).flatten(1)

    network = Small(forward, a=_conv(3, 6), scale=_conv(6, 6, 1), c=_conv(6, 2))
    _kill(network.scale, 0, bias=-1.0)  # times 0
    _kill(network.scale, 1, bias=2.0)  # times 2
    _kill(network.a, 2, bias=3.0)  # 3 times something
    _ignore(network.scale, 0, 1, 2)
    done = _compacted(network)
    assert done.removed == {"a": 1, "scale": 1}
    assert set(done.kept) == {"a", "scale"}


def test_concatenation_keeps_apart_what_it_joins():
    network = Small(
        lambda m, x: m.c(torch.cat([m.a(x), m.b(x), m.a(x) * 2], 1)).flatten(1),
        a=_conv(3, 4),
        b=_conv(3, 5),
        c=_conv(13, 2),
    )
    assert compact(network, torch.randn(IMAGES)).removed == {}  # a runs twice
    network._forward = lambda m, x: m.c(torch.cat([y := m.a(x), m.b(x), y * 2], 1)).flatten(1)
    _kill(network.a, 0, bias=1.0)
    _kill(network.b, 0, 1, bias=1.0)
    _ignore(network.c, 1, 6)  # channel 1 of a is read as its double; channel 2 of b not at all
    done = _compacted(network)
    assert done.removed == {"a": 1, "b": 3}
    assert done.module.c.in_channels == 8


def _depthwise(bias, **options):
    network = Small(
        lambda m, x: m.c(m.d(F.relu(m.a(x)))).flatten(1),
        a=_conv(3, 6),
        d=_conv(6, 12, groups=6, **options),
        c=_conv(12, 2),
    )
    _kill(network.a, 0, bias=bias)
    _kill(network.d, 2, 3, 4)
    return network


def test_depthwise_channels_go_together():
    done = _compacted(_depthwise(1.0))
    assert done.removed == {"a": 2, "d": 4}
    assert (done.module.d.groups, done.module.d.in_channels, done.module.d.out_channels) == (4, 4, 8)
    assert set(done.kept) == {"d"}  # channel 4 shares its input with channel 5
    assert _compacted(_depthwise(-1.0, padding=1)).removed == {"a": 2, "d": 4}


def test_constants_other_than_zero_stay_before_a_padded_depthwise_layer():
    done = _compacted(_depthwise(1.0, padding=1))
    assert done.removed == {"a": 1, "d": 2}
    assert "padded" in done.kept["a"]


def test_grouped_channels_go_by_whole_groups():
    network = Small(lambda m, x: m.c(m.d(m.a(x))).flatten(1), a=_conv(3, 8), d=_conv(8, 12, groups=4), c=_conv(12, 2))
    _kill(network.a, 0, 1, 2)
    _kill(network.d, 9, 10, bias=1.0)
    done = _compacted(network)
    assert done.removed == {"a": 2, "d": 3}  # the first of four groups
    assert done.module.d.groups == 3
    assert set(done.kept) == {"a", "d"}


@pytest.mark.parametrize(
    "flatten",
    [lambda x: x.view(x.size(0), -1), lambda x: x.reshape(x.shape[0], 24), lambda x: torch.flatten(x, 1), nn.Flatten()],
)
def test_flattened_channels_are_all_their_pixels(flatten):
    network = Small(
        lambda m, x: m.fc(m.flatten(F.relu(F.max_pool2d(m.a(x), 3)))),
        a=_conv(3, 6),
        fc=nn.Linear(24, 5),
        flatten=flatten,
    )
    _kill(network.a, 0, bias=1.0)
    _ignore(network.fc, *range(4, 8), *range(8, 11))  # all pixels of channel 1, three of channel 2
    done = _compacted(network)
    assert done.removed == {"a": 2}
    assert done.module.fc.in_features == 16


@pytest.mark.parametrize(
    ("pool", "goes"),
    [(nn.AvgPool2d(3, padding=1), False), (nn.AvgPool2d(3, ceil_mode=True), True), (nn.MaxPool2d(3, padding=1), True)],
)
def test_pools_keep_constants_unless_zeros_enter_the_average(pool, goes):
    network = Small(lambda m, x: m.b(m.pool(m.a(x))).flatten(1), a=_conv(3, 4), b=_conv(4, 2, 2), pool=pool)
    _kill(network.a, 0, bias=-1.0)
    assert _compacted(network).removed == ({"a": 1} if goes else {})


def test_padded_shortcuts_shrink():
    network = _settled(build("resnet20_a", 10), torch.randn(8, 3, 32, 32))
    dead = {2: [0, 1, 30], 3: [16, 17, 46]}  # of stage 2 zeros in its shortcut; of stage 3 those of stage 2
    for stage, channels in dead.items():
        for block in (network.get_submodule(f"layer{stage}.{i}") for i in range(3)):
            _kill(block.conv2, *channels)
            with torch.no_grad():
                block.bn2.bias[channels] = -100.0
    done = _compacted(network, (2, 3, 32, 32))
    assert done.removed == {f"layer{stage}.{i}.conv2": 3 for stage in dead for i in range(3)}
    assert [m.in_channels for name, m in done.module.named_modules() if name.endswith("0.conv1")] == [16, 16, 29]


def test_vectors_and_activations_with_weights():
    network = Small(
        lambda m, x: m.fc(m.bn(m.act(m.b(m.a(x.flatten(2))))).mean(2)),
        **{
            "a": nn.Conv1d(3, 6, 3),
            "b": nn.Conv1d(6, 6, 3),
            "act": nn.PReLU(6),
            "bn": nn.BatchNorm1d(6),
            "fc": nn.Linear(6, 2),
        },
    )
    network = _settled(network, torch.randn(8, *IMAGES[1:]))
    _kill(network.b, 0, 5, bias=-1.0)
    _ignore(network.b, 3)
    done = _compacted(network)
    assert done.removed == {"a": 1, "b": 2}
    assert (done.module.bn.num_features, done.module.act.num_parameters) == (4, 4)


def test_neurons_between_linear_layers():
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 7), nn.GELU(), nn.Dropout(), nn.Linear(7, 3))
    _kill(network[1], 0, 1, bias=1.0)
    _ignore(network[4], 6)
    assert _compacted(network).removed == {"1": 3}


def _attention(forward=lambda m, y: m.attention(y, y, y, need_weights=False)[0], **options):
    network = Small(
        lambda m, x: m.fc(forward(m, m.embed(x.flatten(2).transpose(1, 2)))).flatten(1),
        **{
            "embed": nn.Linear(3, 12),
            "attention": nn.MultiheadAttention(12, 4, batch_first=True, **options),
            "fc": nn.Linear(12, 2),
        },
    )
    with torch.no_grad():
        if network.attention.in_proj_weight is not None:
            network.attention.in_proj_weight[24:27] = (
                0  # the values of the first of four heads are the same for all tokens
            )
        network.attention.out_proj.weight[:, 9:12] = 0  # nothing reads the last
        network.attention.out_proj.weight[:, 3:5] = 0  # two of three values of the second are not read
    return network


def test_heads_without_effect_go(tmp_path):
    done = _compacted(_attention())
    assert done.removed == {"attention": 6}
    assert done.module.attention.project_in.weight.shape == (18, 12)
    assert _compacted(_attention(bias=False)).removed == {"attention": 6}
    assert export_onnx(done.module, torch.randn(IMAGES), tmp_path / "m.onnx") <= 1e-4


def test_dead_blocks_of_a_vision_transformer_disappear(tmp_path):
    network = _settled(_vision_transformer(tmp_path), torch.randn(2, 3, 32, 32))
    first, second = network.encoder.layers
    _kill(first.mlp[3], *range(32), bias=0.5)
    with torch.no_grad():
        second.self_attention.in_proj_weight[64:] = 0
    done = _compacted(network, (2, 3, 32, 32))
    path = "encoder.layers.encoder_layer"
    assert done.removed == {f"{path}_0.mlp.0": 64, f"{path}_0.mlp.3": 32, f"{path}_1.self_attention": 32}
    assert done.kept == {}
    left = {name for name, _ in done.module.named_modules()}
    assert not left & {f"{path}_0.mlp", f"{path}_0.ln_2", f"{path}_1.self_attention", f"{path}_1.ln_1"}


def test_attention_without_effect_that_is_not_added_keeps_one_head():
    network = _attention()
    with torch.no_grad():
        network.attention.in_proj_weight[24:] = 0
    done = _compacted(network)
    assert done.removed["attention"] == 9


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, y: m.attention(y, z := y * 2, z)[0],
        lambda m, y: m.attention(m.attention(y, y, y)[0], y, y)[0],
        lambda m, y: m.attention(z := y.flatten(0, 1), z, z)[0].view(-1, 64, 12),
        lambda m, y: m.attention(y, y, y, attn_mask=torch.ones(64, 64).triu(1).bool())[0],
        lambda m, y: y + m.attention(y, y, y)[1].mean((1, 2), keepdim=True),
    ],
)
def test_heads_stay_where_one_tensor_does_not_simply_attend_to_itself(forward):
    done = _compacted(_attention(forward))
    assert done.removed == {}
    assert done.kept["attention"]


def test_heads_stay_where_attention_has_more_than_projections():
    for options in ({"add_bias_kv": True}, {"add_zero_attn": True}):
        done = _compacted(_attention(**options))
        assert done.removed == {}
        assert "another kind" in done.kept["attention"]
    done = _compacted(_attention(lambda m, y: m.attention(y, z := y[..., :6], z)[0], kdim=6, vdim=6))
    assert done.removed == {}
    assert "another kind" in done.kept["attention"]


@pytest.mark.parametrize(
    ("forward", "why"),
    [
        (lambda m, x: m.b(m.a(x).softmax(1)), "'softmax' reads"),
        (lambda m, x: m.b(m.norm(m.a(x))), "'norm' reads"),
        (lambda m, x: m.b(m.statistics(m.a(x))), "'statistics' reads"),
        (lambda m, x: m.b(m.a(x).transpose(1, 2).transpose(1, 2)), "'transpose' reads"),
        (lambda m, x: m.b(y := m.a(x)) * y.size(1), "'size' reads"),
        (lambda m, x: m.b(y := m.a(x)) * y.shape[1], "'getattr_1' reads"),
        (lambda m, x: m.b(m.a(x) * m.scale), "'mul' reads"),
        (lambda m, x: m.b(F.conv2d(m.a(x), m.scale.unsqueeze(0).expand(4, -1, -1, -1))), "'conv2d' reads"),
        (lambda m, x: m.b((y := m.a(x)) * m.gate(y)), "'mul' reads"),
        (lambda m, x: m.a(x).mean(1), "'mean' reads"),
        (lambda m, x: m.b(torch.cat(m.a(x).chunk(2, 1), 1)), "'chunk' reads"),
        (lambda m, x: m.b(torch.cat([(y := m.a(x))[:, 2:], y[:, :2]], 1)), "reads every"),
        (lambda m, x: m.b(torch.cat([y := m.a(x), y], 2)), "'cat' reads"),
        (lambda m, x: m.b(torch.cat(tensors=[y := m.a(x), y], dim=2)), "'cat' reads"),
        (lambda m, x: m.b(F.pad(m.a(x) * 0, (1, 0, 0, 0), value=1.0)), "'pad' reads"),
        (lambda m, x: m.b(F.pad(m.a(x), (1, 0, 0, 0))), "padded"),
        (lambda m, x: m.b(F.dropout(m.a(x), 1e-9, True)), "'dropout' reads"),
        (lambda m, x: m.last(m.a(x)), "'last' reads"),
    ],
)
def test_what_is_not_known_reads_every_channel(forward, why):
    layers = {
        "a": _conv(3, 4),
        "b": _conv(4, 4, 2),
        "gate": _conv(4, 1, 1),
        "last": nn.Linear(6, 2),
        "norm": nn.GroupNorm(2, 4),
    }
    network = Small(
        lambda m, x: forward(m, x).flatten(1), **layers, statistics=nn.BatchNorm2d(4, track_running_stats=False)
    )
    network.scale = nn.Parameter(torch.ones(4, 1, 1))
    _kill(network.a, 0, bias=1.0)
    done = _compacted(network) if "statistics" not in why else compact(network, torch.randn(IMAGES))
    assert done.removed == {}
    assert why in done.kept["a"]


def test_channels_along_another_axis_are_not_mixed_up():
    forwards = {
        "bn": lambda m, x: m.b(m.bn(m.a(x.flatten(2)))),
        "pool": lambda m, x: m.b(m.pool(m.a(x.flatten(2))).flatten(1)),
        "flatten_1": lambda m, x: m.c(m.a(x.flatten(2)).flatten(1)),
    }
    for name, forward in forwards.items():
        layers = {
            "a": nn.Linear(64, 3),
            "b": nn.Linear(3, 2),
            "c": nn.Linear(9, 2),
            "bn": nn.BatchNorm1d(3),
            "pool": nn.AdaptiveAvgPool1d(1),
        }
        tokens = Small(forward, **layers)
        _kill(tokens.a, 0)
        done = _compacted(tokens)
        assert (done.removed, done.kept) == ({}, {"a": f"'{name}' reads every channel"})
    layers = {"a": _conv(3, 2, 7), "b": _conv(2, 2, 1), "c": _conv(2, 2, 1)}
    shifted = Small(
        lambda m, x: m.c((y := m.a(x)) + m.b(y).mean((2, 3))).flatten(1), **layers
    )  # adds along rows and columns
    _kill(shifted.a, 0, bias=1.0)
    _kill(shifted.b, 0, bias=1.0)
    done = compact(shifted, torch.randn(IMAGES))
    assert done.removed == {}
    assert set(done.kept) == {"a", "b"}
    _same(shifted, done.module, torch.randn(IMAGES))


def test_a_pool_over_channels_reads_them_all():
    network = Small(
        lambda m, x: m.b(m.pool(m.a(x.flatten(2))).flatten(1)),
        a=nn.Conv1d(3, 4, 3),
        pool=nn.AvgPool2d(2),
        b=nn.Linear(62, 2),
    )
    _kill(network.a, 0)
    done = _compacted(network)
    assert (done.removed, done.kept) == ({}, {"a": "'pool' reads every channel"})


def test_what_is_dead_in_layers_that_are_not_followed_is_listed():
    def forward(m, x):
        return m.last(m.twice(m.twice(m.grouped(m.up(x).softmax(1)))).flatten(1))

    layers = {
        "up": nn.ConvTranspose2d(3, 4, 1),
        "grouped": _conv(4, 4, groups=2),
        "twice": _conv(4, 4),
        "last": nn.Linear(4 * 4, 2),
    }
    network = Small(forward, **layers)
    with torch.no_grad():
        network.up.weight[:, 1] = 0
    for layer in (network.grouped, network.twice):
        _kill(layer, 3)
    done = _compacted(network)
    simply = "it is not simply called, once, as a layer without hooks"
    assert done.kept == {"up": simply, "grouped": "of what it reads nothing is known", "twice": simply}


def test_groups_of_the_input_stay():
    network = Small(lambda m, x: m.b(m.d(x)).flatten(1), d=_conv(3, 6, groups=3), b=_conv(6, 2))
    _ignore(network.b, 0, 1)
    assert _compacted(network).removed == {}


def test_what_is_not_used_ties_nothing():
    def forward(m, x):
        x = m.a(x)
        _ = x + m.b(x)
        return m.c(m.b2(x)).flatten(1)

    network = Small(forward, a=_conv(3, 4), b=_conv(4, 4, padding=1), b2=_conv(4, 4), c=_conv(4, 2))
    _ignore(network.b2, 0)
    assert _compacted(network).removed == {"a": 1, "b": 4}


def test_weights_with_another_use_stay_as_they_are():
    network = Small(
        lambda m, x: m.b(m.a(x)).mean((2, 3)) @ m.b.weight.sum((1, 2, 3)).diag(), a=_conv(3, 4), b=_conv(4, 4)
    )
    _kill(network.a, 0, bias=1.0)
    assert _compacted(network).removed == {}
    network = nn.Sequential(
        _conv(3, 4), _conv(4, 4), nn.ReLU(), _conv(4, 4, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)
    )
    network[3].weight = network[1].weight
    _ignore(network[6], *range(4))
    assert _compacted(network).removed == {"3": 1}
    _kill(network[0], 0, bias=1.0)
    assert _compacted(network).removed == {"0": 1, "3": 1}
    network[1].register_forward_hook(lambda m, inputs, output: output + inputs[0].sum())
    assert _compacted(network).removed == {"3": 1}


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Traced(nn.Module):
    def forward(self, x):
        return x if isinstance(x, torch.Tensor) else -x


class Augmented(nn.Module):
    def forward(self, x):
        y = x
        y -= 1
        y *= 2
        y /= 3
        y += 4
        return x + y


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (Branches(), "cannot trace or run"),
        (Traced(), "differs by"),
        (Small(lambda m, x: (x, x)), "not one tensor"),
        (Small(lambda m, x: F.relu(x, inplace=True) + x), "in place"),
        (Small(lambda m, x: x.view(-1).mul_(2) is x or x), "in place"),
        (Small(lambda m, x: operator.iadd(x, 1) + x), "in place"),
        (Augmented(), "in place"),
    ],
)
def test_a_network_that_cannot_be_followed_is_left_as_it_is(last, reason):
    network = nn.Sequential(_conv(3, 4), nn.ReLU(), _conv(4, 4), last)
    _kill(network[0], 0)
    done = compact(network, torch.randn(IMAGES))
    assert reason in done.kept[""]
    assert (list(done.kept), done.removed) == ([""], {})
    assert not done.module.training
    assert torch.equal(torch.as_tensor(_size(done.module)), torch.as_tensor(_size(network)))


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_network_of_zeros_is_one_channel_wide(name):
    network = _settled(build(name, 10), torch.randn(8, 3, 32, 32))
    apply_masks(
        network, {n: torch.zeros(p.shape, dtype=torch.bool) for n, p in maskable(network).items() if p.dim() > 1}
    )
    done = _compacted(network, (2, 3, 32, 32))
    assert _size(done.module) < 600
    assert done.kept["fc" if name != "vgg16_bn_cifar" else "classifier.6"] == "it is the output"


def test_the_given_network_is_not_changed():
    network = _masked(_settled(build("resnet20", 10), torch.randn(8, 3, 32, 32)), "most filters").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    done = _compacted_in_training(network)
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert _size(done.module) < _size(network)


def _compacted_in_training(network):
    return compact(network, torch.randn(2, 3, 32, 32))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_smaller_resnet_exports_and_is_counted(tmp_path):
    network = _masked(_settled(build("resnet20", 10), torch.randn(8, 3, 32, 32)), "half the filters")
    network = Reengineered(network, TargetHead(10, 2))
    done = _compacted(network, (2, 3, 32, 32))
    assert export_onnx(done.module, torch.randn(1, 3, 32, 32), tmp_path / "m.onnx") <= 1e-4
    before, after = (count(m, torch.randn(1, 3, 32, 32)) for m in (network, done.module))
    assert after.params_total < 0.6 * before.params_total
    assert after.macs_dense < 0.6 * before.macs_dense
