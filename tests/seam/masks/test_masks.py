"""Scores, masks and mask packs, against hand-made truth."""

import zlib

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import nn

from seam.errors import MaskError, SearchError
from seam.masks.masks import apply_masks, density, maskable
from seam.masks.pack import load_mask_pack, save_mask_pack
from seam.masks.scores import backward, density_of, masks_of, refresh
from seam.masks.weights import ScoredWeights
from seam.networks.build import build


def _network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def test_maskable_takes_weights_and_biases_but_not_batchnorm():
    assert list(maskable(_network())) == ["0.weight", "0.bias", "3.weight", "3.bias"]


def test_maskable_counts_of_resnet20_equal_the_papers():
    assert sum(p.numel() for p in maskable(build("resnet20", 10)).values()) == 270_906
    assert sum(p.numel() for p in maskable(build("resnet20", 100)).values()) == 276_756


def test_maskable_takes_attention():
    assert "self_attn.in_proj_weight" in maskable(nn.TransformerEncoderLayer(8, 2))


def test_nothing_to_mask_is_one_clear_line():
    with pytest.raises(SearchError, match="no convolution, linear, attention or recurrent weights"):
        maskable(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()))


def test_effective_weights_follow_the_sign_of_the_scores():
    network = _network()
    scored = ScoredWeights(network)
    assert torch.equal(scored.effective.by_name["0.weight"], network[0].weight)
    with torch.no_grad():
        scored.scores[0], scored.scores[1] = -0.1, 0.0
    refresh(scored)
    expected = network[0].weight.detach().clone().reshape(-1)
    expected[:2] = 0
    assert torch.equal(scored.effective.by_name["0.weight"].detach().reshape(-1), expected)
    assert density_of(scored) == pytest.approx((len(scored.effective) - 2) / len(scored.effective))
    assert masks_of(scored)["0.weight"].reshape(-1)[:3].tolist() == [False, False, True]


def test_score_gradient_is_straight_through_times_weight_plus_drift():
    scored = ScoredWeights(nn.Linear(2, 1))
    with torch.no_grad():
        scored.effective.weights.copy_(torch.tensor([2.0, -3.0, 0.5]))
        scored.scores[1] = -1.0
    refresh(scored)
    effective = scored.effective.by_name
    (effective["weight"] @ torch.tensor([0.25, 0.1]) + effective["bias"] * 4).sum().backward()
    backward(scored, 0.01)
    # dL/dWeff = (.25, .1, 4); times W = (.5, -.3, 2), the last clamped to 1; a removed weight still gets its gradient
    assert torch.allclose(scored.scores.grad, torch.tensor([0.51, -0.29, 1.01]))


def test_apply_masks_refuses_what_does_not_fit():
    network = _network()
    with pytest.raises(MaskError, match=r"shape \(4, 3, 1, 1\), expected \(4, 3, 3, 3\)"):
        apply_masks(network, {"0.weight": torch.ones(4, 3, 1, 1, dtype=torch.bool)})
    with pytest.raises(MaskError, match="no such weight"):
        apply_masks(network, {"9.weight": torch.ones(1, dtype=torch.bool)})


def test_mask_pack_round_trip_takes_less_than_a_bit_a_weight(tmp_path):
    generator = torch.Generator().manual_seed(0)
    masks = {"a": torch.rand(7, 3, generator=generator) > 0.5, "b": torch.rand(40960, generator=generator) > 0.9}
    digest = save_mask_pack(masks, "source-hash", tmp_path / "mask.safetensors")
    pack = load_mask_pack(tmp_path / "mask.safetensors", "source-hash")
    assert all(torch.equal(pack.masks[k], masks[k]) for k in masks)
    assert (pack.mask_sha256, pack.source_sha256) == (digest, "source-hash")
    assert density(pack.masks) == pytest.approx(sum(int(m.sum()) for m in masks.values()) / (21 + 40960))
    assert (
        sum(a.nbytes for a in load_file(tmp_path / "mask.safetensors").values()) < 0.6 * 40960 / 8
    )  # its entropy is 0.47 bits a weight


def test_mask_pack_bytes_depend_on_the_mask_alone(tmp_path):
    masks = {"a": torch.tensor([True, False, True])}
    save_mask_pack(masks, "s", tmp_path / "1")
    save_mask_pack(masks, "s", tmp_path / "2")
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_mask_pack_of_another_source_or_altered_is_refused(tmp_path):
    path = tmp_path / "mask.safetensors"
    save_mask_pack({"a": torch.tensor([True, False])}, "one", path)
    with pytest.raises(MaskError, match="made for the source with sha256 one"):
        load_mask_pack(path, "two")
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x40
    path.write_bytes(bytes(content))
    with pytest.raises(MaskError, match=r"expected a mask pack, got .*decompressing"):
        load_mask_pack(path)
    with safe_open(path, framework="numpy") as f:
        about = f.metadata()
    for bits in (b"\x40", b"\x80" * 10**6):  # another mask; more than its shape allows
        save_file({"a": np.frombuffer(zlib.compress(bits), np.uint8)}, path, metadata=about)
        with pytest.raises(MaskError, match="altered" if bits == b"\x40" else "bits of 2 bytes for a mask of shape"):
            load_mask_pack(path)
    save_file({"a": np.zeros(1)}, path)
    with pytest.raises(MaskError, match="expected a mask pack"):
        load_mask_pack(path)
