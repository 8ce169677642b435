"""Normalisation layers: found, put back, saved, and calibrated to what they really see."""

import pytest
import torch
from torch import nn

from seam.errors import MaskError
from seam.networks.norms import (
    load_norms,
    norm_parameters,
    norm_tensors,
    put_norm_tensors,
    recalibrate,
    save_norms,
    use_batch_statistics,
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.GroupNorm(2, 4),
        nn.Flatten(),
        nn.LayerNorm(144),
        nn.Dropout(),
    ).eval()


def test_scales_and_shifts_of_every_kind_are_found_and_nothing_else(network):
    assert [tuple(p.shape) for p in norm_parameters(network)] == [(4,), (4,), (4,), (4,), (144,), (144,)]
    assert set(norm_tensors(network)) == {
        f"1.{n}" for n in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    } | {
        *("3.weight", "3.bias", "5.weight", "5.bias"),
    }
    assert norm_parameters(nn.Linear(2, 2)) == []


def test_a_network_without_any_is_saved_and_loaded(tmp_path):
    save_norms(norm_tensors(nn.Linear(2, 2)), tmp_path / "norms.safetensors")
    load_norms(nn.Linear(2, 2), tmp_path / "norms.safetensors")


def test_what_is_saved_is_put_back(network, tmp_path):
    taken = norm_tensors(network)
    save_norms(taken, tmp_path / "norms.safetensors")
    with torch.no_grad():
        for p in norm_parameters(network):
            p.add_(1)
    assert not torch.equal(norm_tensors(network)["1.weight"], taken["1.weight"])
    load_norms(network, tmp_path / "norms.safetensors")
    assert all(torch.equal(v, taken[k]) for k, v in norm_tensors(network).items())


def test_of_another_network_damaged_or_missing_is_one_clear_line(network, tmp_path):
    path = tmp_path / "norms.safetensors"
    with pytest.raises(MaskError, match=r"norms\.safetensors: expected the tensors .*; make it anew"):
        load_norms(network, path)
    path.write_bytes(b"half a fi")
    with pytest.raises(MaskError, match=r"norms\.safetensors: expected the tensors .*; make it anew"):
        load_norms(network, path)
    save_norms(norm_tensors(nn.BatchNorm2d(4)), path)
    with pytest.raises(MaskError, match=r"expected the source's 9 normalisation tensors, .* differs"):
        load_norms(network, path)


def test_batch_statistics_leave_every_other_layer_in_its_mode(network):
    use_batch_statistics(network, True)
    assert network[1].training
    assert not network[6].training
    use_batch_statistics(network, False)
    assert not network[1].training


def test_recalibrated_statistics_are_the_mean_over_batches(network):
    images = torch.rand(6, 3, 8, 8)
    recalibrate(network, (network(batch) for batch in images.split(2)))
    seen = network[0](images)
    assert torch.allclose(network[1].running_mean, seen.mean((0, 2, 3)), atol=1e-6)
    by_batch = [part.var((0, 2, 3)) for part in seen.split(2)]
    assert torch.allclose(network[1].running_var, torch.stack(by_batch).mean(0), atol=1e-6)
    assert not network[1].training
    assert network[1].momentum == 0.1
    before = norm_tensors(network)
    put_norm_tensors(network, before)
    assert torch.equal(norm_tensors(network)["1.running_mean"], before["1.running_mean"])
