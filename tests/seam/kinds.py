"""Small networks of many kinds, for images of 8 x 8 pixels in three channels, whose weights lie in unusual places."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Normalised(nn.Sequential):
    """A convolution that BatchNorm is folded into, a grouped one, a linear layer."""

    def __init__(self) -> None:
        conv, grouped = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Conv2d(4, 6, 3, stride=2, groups=2)
        super().__init__(conv, nn.BatchNorm2d(4), nn.ReLU(), grouped, nn.AvgPool2d(3), nn.Flatten(), nn.Linear(6, 5))


class Shared(nn.Module):
    """One convolution used three times, and one with its tensor and a BatchNorm behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = (nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(2))
        self.again.weight, self.norm = self.first.weight, nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.again(self.first(self.first(self.first(x)).relu()))).mean((2, 3))


class Tied(nn.Module):
    """One linear layer used three times, of which once behind a transposition, and an embedding as the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.table = nn.Linear(64, 64), nn.Embedding(5, 64)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.fc(self.fc(x.flatten(2)).relu()).relu().mean(1)
        return (tokens @ self.fc.weight + self.table.weight[0]) @ self.table.weight.t()


class Attentive(nn.Module):
    """Attention in torch's way and by hand, over three tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(64, 2, batch_first=True), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        tokens = F.scaled_dot_product_attention(tokens, tokens, tokens)
        return self.out(torch.einsum("bid,bjd->bij", tokens, tokens) @ tokens).mean(1)


class Queried(nn.Module):
    """A query that is learnt attends to the image; nothing of it depends on the image at first."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.decoder = nn.Parameter(torch.randn(1, 2, 64)), nn.TransformerDecoderLayer(64, 2, 32)
        self.out = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        asked = self.query.expand(len(x), -1, -1)
        return self.out(self.decoder(asked.transpose(0, 1), x.flatten(2).transpose(0, 1)).mean(0))


class Recurrent(nn.Module):
    """An LSTM in both directions, a GRU, and a cell whose state begins with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTM(64, 8, batch_first=True, bidirectional=True), nn.GRU(16, 4, batch_first=True)
        self.cell = nn.LSTMCell(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        last = self.gru(self.lstm(x.flatten(2))[0])[0][:, -1]
        state = torch.zeros(len(x), 5), last.new_zeros(len(x), 5)
        for _ in range(2):
            state = self.cell(last, state)
        return state[0]


class Biased(nn.Module):
    """A constant that two layers make, added to what a linear layer gives, and multiplied by it."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.made = nn.Buffer(torch.randn(3, 2)), nn.Linear(2, 64)
        self.out = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        made = self.made(self.places).relu()
        return self.out(x.flatten(2) + made).mean(1) + (x.flatten(2) @ made.t()).mean((1, 2))[:, None]


class Fixed(nn.Module):
    """A blur and a change of basis, whose numbers are no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.blur, self.basis = nn.Buffer(torch.ones(4, 1, 3, 3) / 9), nn.Buffer(torch.randn(36, 6))
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding="same"), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((F.conv2d(self.conv(x), self.blur, groups=4).flatten(2) @ self.basis).mean(1))


class Unneeded(nn.Module):
    """A projection that nothing reads, a layer that is never called, and one that is called twice on the same."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.projection, self.idle = nn.Linear(192, 5), nn.Linear(192, 7), nn.Linear(3, 4)
        self.twice, self.seen = nn.Linear(5, 5), torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.projection(x.flatten(1)).detach()
        logits = self.fc(x.flatten(1))
        return self.twice(logits) + self.twice(logits)


class Made(nn.Module):
    """Weights that are slices, sums, products or views of parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.tall, self.wide = nn.Conv2d(3, 4, 3), nn.Linear(2, 64), nn.Linear(64, 2)
        self.one, self.table, self.fc = nn.Parameter(torch.randn(1, 3, 3, 3)), nn.Embedding(9, 64), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        half = F.conv2d(x, self.conv.weight[:2]).mean((2, 3))
        same = F.conv2d(x, self.one.expand(2, -1, -1, -1)).mean((2, 3))
        mixed = x.flatten(2) @ (self.tall.weight @ self.wide.weight) @ self.table.weight[:4].t()
        gated = torch.einsum("bid,d->bid", mixed, self.fc.weight[0])
        gate = (mixed @ self.fc.weight[1]).sigmoid().mean(1, keepdim=True)
        return self.fc(torch.cat([half, same], 1) * gate + gated.mean(1))


KINDS = (Normalised, Shared, Tied, Attentive, Queried, Recurrent, Biased, Fixed, Unneeded, Made)
