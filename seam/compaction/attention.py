"""Self-attention of torch's own layer, written out as a network could have written it itself."""

from __future__ import annotations

import operator

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.nn import functional as F

from seam.compaction.heads import insert, join_heads, split_heads
from seam.compaction.layers import parameter
from seam.compaction.trace import Traced

_IDLE = {
    "need_weights": (True, False),
    "average_attn_weights": (True, False),
    "is_causal": (False,),
    "attn_mask": (None,),
    "key_padding_mask": (None,),
}
"""Arguments with which an attention does what it does without."""


class SplitAttention(nn.Module):
    """The projections of an `nn.MultiheadAttention`, under the names that it gives them."""

    def __init__(self, full: nn.MultiheadAttention) -> None:
        super().__init__()
        self.in_proj = _linear(full.in_proj_weight, full.in_proj_bias)
        self.out_proj = _linear(full.out_proj.weight, full.out_proj.bias)


def split_attention(traced: Traced) -> dict[str, str]:
    """Make two linear layers of every self-attention, and `split_heads`, attention and `join_heads` between them.

    So its heads, and the features of each, are followed as those of attention that a network writes
    out. What is made exports to ONNX.

    Args:
        traced: changed in place; attention `x` becomes the layers `x.in_proj` and `x.out_proj`.

    Returns:
        Attention with heads without effect that could not be split -> the reason.
    """
    kept = {}
    for node in traced.nodes:
        full = traced.called(node)
        if isinstance(full, nn.MultiheadAttention):
            reason = _why_not(traced, full, node)
            if not reason:
                _replace(traced, node, full)
            elif _has_heads_without_effect(full):
                kept[str(node.target)] = reason
    return kept


def _has_heads_without_effect(full: nn.MultiheadAttention) -> bool:
    """Whether of some head nothing is read, or all values are the same for every token."""
    values = full.v_proj_weight if full.in_proj_weight is None else full.in_proj_weight[-full.embed_dim :]
    read = full.out_proj.weight.any(0) & values.any(1)
    return not bool(read.view(full.num_heads, -1).any(1).all())


def _why_not(traced: Traced, full: nn.MultiheadAttention, node: fx.Node) -> str:
    """Why heads cannot be removed; empty if they can."""
    if traced.kind(node) != "multiheadattention" or traced.is_shared(node):
        return "it runs more than once, or has hooks"
    if full.in_proj_weight is None or full.bias_k is not None or full.add_zero_attn:
        return "its attention is of another kind than torchvision's vision transformer has"
    if (
        len(node.args) != 3
        or len(set(node.args)) > 1
        or any(value not in _IDLE.get(name, ()) for name, value in node.kwargs.items())
        or len(traced.shapes[node.all_input_nodes[0]]) != 3
    ):
        return "it is not a batch of tokens that attend to each other, without a mask"
    if any(user.target is not operator.getitem or (user.args[1] != 0 and user.users) for user in node.users):
        return "its attention weights are used"
    return ""


def _replace(traced: Traced, node: fx.Node, full: nn.MultiheadAttention) -> None:
    """Put the projections, and what is between them, in the place of an attention."""
    name, source, width = str(node.target), node.all_input_nodes[0], full.embed_dim
    traced.module.set_submodule(name, SplitAttention(full))
    tokens = source if full.batch_first else insert(traced, node, torch.transpose, (source, 0, 1))
    projected = _insert_layer(traced, node, f"{name}.in_proj", tokens, 3 * width)
    parts = [insert(traced, node, torch.narrow, (projected, 2, at * width, width)) for at in range(3)]
    by_heads = tuple(insert(traced, node, split_heads, (part, full.num_heads)) for part in parts)
    mixed = insert(traced, node, F.scaled_dot_product_attention, by_heads)
    mixed.kwargs = {"scale": full.head_dim**-0.5}  # that of all features of a head, whatever is left of them
    joined = insert(traced, node, join_heads, (mixed,))
    result = _insert_layer(traced, node, f"{name}.out_proj", joined, width)
    if not full.batch_first:
        result = insert(traced, node, torch.transpose, (result, 0, 1))
    for user in list(node.users):
        user.replace_all_uses_with(result)
        traced.module.graph.erase_node(user)
    traced.module.graph.erase_node(node)


def _insert_layer(traced: Traced, before: fx.Node, name: str, source: fx.Node, width: int) -> fx.Node:
    with traced.module.graph.inserting_before(before):
        node = traced.module.graph.call_module(name, (source,))
    traced.shapes[node] = torch.Size((*traced.shapes[source][:-1], width))
    return node


def _linear(weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"] | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = parameter(weight)
    if bias is not None:
        layer.bias = parameter(bias)
    return layer
