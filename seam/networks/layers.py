"""Kinds of layers whose weights can be masked."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvNd

HAVE_WEIGHTS = (_ConvNd, nn.Linear, nn.MultiheadAttention, nn.RNNBase)
"""Convolutions, linear layers, attention, LSTM, GRU and plain recurrent layers."""
