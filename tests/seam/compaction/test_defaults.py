"""Networks that take more than images, such as a mask of their attention, and do without."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seam.compaction import compact
from seam.inference.export import export_onnx


class Masked(nn.Module):
    """Attention between pixels, as timm's vision transformers write it."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.fc = nn.Linear(3, 24), nn.Linear(8, 4)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).reshape(x.shape[0], -1, 3, 1, 8).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, is_causal=is_causal)
        return self.fc(y.squeeze(1).mean(1))


@torch.no_grad()
def test_the_compacted_network_does_without_as_well(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, images = Masked().eval(), torch.randn(2, 3, 4, 4)
    network.qkv.weight[16:20], network.qkv.bias[16:20] = 0, 0
    done = compact(network, images)
    assert "" not in done.kept
    assert torch.allclose(done.module(images), network(images), atol=1e-6)
    assert export_onnx(done.module, images, tmp_path / "m.onnx") <= 1e-4
