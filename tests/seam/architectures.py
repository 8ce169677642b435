"""Architectures that masks, channel groups and compaction are tested on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seam.networks import build

HEAVY = ("convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "regnet_y_400mf", "resnet50", "swin_t")
LIGHT = ("mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1")
TORCHVISION = (*LIGHT, *HEAVY)
BUILT_IN = tuple(name for name in build.BUILT_IN if not any(depth in name for depth in ("32", "44", "56")))
"""Of a family of one design the shallowest."""
SMALL_VIT = """
from torchvision.models import VisionTransformer
def vit(num_classes):
    sizes = dict(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64)
    return VisionTransformer(**sizes, num_classes=num_classes)
"""


class ShuffleUnit(nn.Module):
    """Two grouped convolutions, a shuffle of channels and a depthwise one between; added to, or beside, what it reads.

    As in ShuffleNet's first version.
    """

    def __init__(self, inputs: int, outputs: int, inner: int, groups: int) -> None:
        super().__init__()
        self.groups, self.wider = groups, outputs > inputs
        self.squeeze = nn.Conv2d(inputs, inner, 1, groups=groups)
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.expand = nn.Conv2d(inner, outputs - inputs if self.wider else outputs, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.squeeze(x))
        n, c, h, w = y.shape
        y = y.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = self.expand(self.depthwise(y))
        return F.relu(torch.cat([x, y], 1) if self.wider else x + y)


def _attend(kind: str, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Of tensors (batch, heads, tokens, features), in one of several ways."""
    if kind == "fused":
        return F.scaled_dot_product_attention(q, k, v)
    scores = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
    return F.dropout((scores + bias if kind == "biased" else scores).softmax(-1), 0.1, training=False) @ v


ATTENTIONS = ("packed", "fused", "biased", "interleaved", "separate", "transposed", "einsum", "one head")


class WrittenAttention(nn.Module):
    """Tokens of a patch each that attend to each other, written out as one of `ATTENTIONS`, and a residual."""

    def __init__(self, kind: str, dim: int, heads: int) -> None:
        super().__init__()
        self.kind, self.heads = kind, heads
        self.embed, self.out, self.fc = nn.Conv2d(3, dim, 2, 2), nn.Linear(dim, dim), nn.Linear(dim, 3)
        if kind in ("separate", "transposed"):
            self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))
        else:
            self.qkv = nn.Linear(dim, 3 * dim)
        if kind == "biased":
            self.bias = nn.Parameter(torch.randn(1, heads, 16, 16))

    def attention(self, t: Tensor) -> Tensor:
        (b, n, c), h = t.shape, self.heads
        if self.kind in ("separate", "transposed"):
            q, k, v = (layer(t).view(b, n, h, c // h).transpose(1, 2) for layer in (self.q, self.k, self.v))
            if self.kind == "separate":
                return _attend(self.kind, q, k, v, q).transpose(1, 2).flatten(2)
            k = self.k(t).reshape(b, n, h, -1).permute(0, 2, 3, 1)
            return (torch.matmul(q, k) / 1.5).softmax(-1).matmul(v).permute(0, 2, 1, 3).contiguous().view(b, n, c)
        if self.kind == "one head":
            q, k, v = self.qkv(t).chunk(3, -1)
            weights = torch.einsum("bid,bjd->bij", q, k).softmax(-1)
            return torch.einsum("bij,bjd->bid", weights, v)
        if self.kind == "einsum":
            q, k, v = (part.view(b, n, h, c // h) for part in self.qkv(t).split(c, -1))
            weights = torch.einsum("bnhd, bmhd -> bhnm", q, k).softmax(dim=-1)
            return torch.einsum("bhnm, bmhd -> bnhd", weights, v).reshape(b, n, c)
        if self.kind == "interleaved":
            q, k, v = self.qkv(t).view(b, n, c // h, h, 3).permute(4, 0, 3, 1, 2)
        else:
            q, k, v = self.qkv(t).reshape(b, n, 3, h, c // h).permute(2, 0, 3, 1, 4).unbind(0)
        return _attend(self.kind, q, k, v, self.bias if self.kind == "biased" else q).transpose(1, 2).reshape(b, n, c)

    def forward(self, x: Tensor) -> Tensor:
        t = self.embed(x).flatten(2).transpose(1, 2)
        return self.fc((t + self.out(self.attention(t))).mean(1))


class Stream(nn.Module):
    """A transformer whose blocks add to a stream of tokens, which norms read.

    With a class token, positions, a layer scale and attention: torch's own layer, or written out.
    """

    def __init__(
        self,
        norm: str = "layer",
        dim: int = 12,
        heads: int = 4,
        side: int = 8,
        classes: int = 3,
        written: bool = False,
    ) -> None:
        super().__init__()
        kinds = {"layer": nn.LayerNorm, "rms": nn.RMSNorm, "no affine": lambda n: nn.LayerNorm(n, bias=False)}
        self.embed, self.token = nn.Conv2d(3, dim, 2, 2), nn.Parameter(torch.randn(1, 1, dim))
        self.positions, self.scale = nn.Parameter(torch.randn(side**2 // 4 + 1, dim)), nn.Parameter(torch.randn(dim))
        self.norms = nn.ModuleList(kinds[norm](dim) for _ in range(3))
        self.written, self.heads = written, heads
        if written:
            self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        else:
            self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.fc = nn.Linear(dim, classes)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.7)

    def attend(self, y: Tensor) -> Tensor:
        if not self.written:
            return self.attention(y, y, y, need_weights=False)[0]
        q, k, v = self.qkv(y).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.out(_attend("fused", q, k, v, q).transpose(1, 2).flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        t = self.embed(x).flatten(2).transpose(1, 2)
        t = torch.cat([self.token.expand(x.shape[0], -1, -1), t], 1) + self.positions
        t = t + self.scale * self.attend(self.norms[0](t))
        t = t + self.mlp(self.norms[1](t))
        return self.fc(self.norms[2](t)[:, 0])
