"""Layers of several copies of a network at once against each copy's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from seam.networks.stacked import ready_for_stacks

COPIES = 3
LAYERS = {
    "2d": (nn.BatchNorm2d(4), (5, 4, 6, 6)),
    "1d, of rows": (nn.BatchNorm1d(4), (5, 4)),
    "without scales": (nn.BatchNorm2d(4, affine=False), (5, 4, 6, 6)),
    "without statistics": (nn.BatchNorm2d(4, track_running_stats=False), (5, 4, 6, 6)),
}


def _drawn(tensor: Tensor, seed: int) -> Tensor:
    if not tensor.is_floating_point():
        return tensor + seed
    return 0.5 + torch.rand(tensor.shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("frozen", [False, True])
def test_each_copy_is_normalised_as_it_is_alone(
    name: str, training: bool, precision: torch.dtype, frozen: bool
) -> None:
    layer, shape = LAYERS[name]
    layer.train(training)
    own = dict(layer.named_buffers()) if frozen else layer.state_dict()
    tensors = [{k: _drawn(t, seed) for k, t in own.items()} for seed in range(COPIES)]
    stacks = {k: torch.stack([some[k] for some in tensors]) for k in own}
    learning = [k for k in own if k in ("weight", "bias")]
    images, felt = (torch.randn(COPIES, *shape, generator=torch.Generator().manual_seed(s)) for s in (8, 9))
    images = images.to(precision)
    for tensor in (images, *(stacks[k] for k in learning)):
        tensor.requires_grad_()
    with ready_for_stacks(layer):
        found = vmap(lambda given, x: functional_call(layer, given, (x,)))(stacks, images)
    found.backward(felt.to(precision))
    assert "forward" not in vars(layer)
    near = {"rtol": 0.02, "atol": 0.02} if precision == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-5}
    for i, given in enumerate(tensors):
        x = images[i].detach().requires_grad_()
        for k in learning:
            given[k].requires_grad_()
        expected = functional_call(layer, given, (x,))
        expected.backward(felt[i].to(precision))
        assert found.dtype == expected.dtype == precision
        torch.testing.assert_close(found[i], expected, **near)
        torch.testing.assert_close(images.grad[i], x.grad, **near)
        for k in learning:
            torch.testing.assert_close(stacks[k].grad[i], given[k].grad, **near)
        for k in set(given) - set(learning):
            torch.testing.assert_close(stacks[k][i], given[k], rtol=1e-4, atol=1e-5)


def test_activations_are_in_place_again_afterwards() -> None:
    network = nn.Sequential(nn.ReLU(inplace=True), nn.ReLU(), nn.Dropout(inplace=True))
    with ready_for_stacks(network):
        assert [layer.inplace for layer in network] == [False, False, False]
    assert [layer.inplace for layer in network] == [True, False, True]


def test_outside_of_a_stack_nothing_changes() -> None:
    layer, shape = LAYERS["2d"]
    images = torch.randn(shape)
    expected = layer.eval()(images)
    with ready_for_stacks(layer):
        assert torch.equal(layer(images), expected)
