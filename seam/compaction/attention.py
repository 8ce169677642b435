"""Self-attention without the heads that have no effect."""

from __future__ import annotations

import operator

import torch
from jaxtyping import Bool, Float
from torch import Tensor, fx, nn
from torch.nn import functional as F

from seam.compaction.layers import parameter
from seam.compaction.trace import Traced


def attend(projected: Float[Tensor, "batch tokens features"], heads: int) -> Float[Tensor, "batch tokens values"]:
    """Attention of tokens to each other.

    Queries, keys and values of all heads lie one after the other in the features.
    """
    query, key, value = projected.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class SplitAttention(nn.Module):
    """The projections of an `nn.MultiheadAttention` without some of its heads.

    What those add is in the bias of the second.
    """

    def __init__(self, full: nn.MultiheadAttention, heads: Bool[Tensor, " heads"]) -> None:
        super().__init__()
        of_heads, varying = heads.repeat_interleave(full.head_dim), _varying_values(full)
        weight, bias_in = full.out_proj.weight, full.in_proj_bias
        bias_out: Tensor | None = full.out_proj.bias
        if bias_in is not None and bias_out is not None:
            bias_out = bias_out + weight[:, ~varying] @ bias_in[-full.embed_dim :][~varying]
        rows = of_heads.repeat(3)
        self.width = int(of_heads.sum())
        """Features of the heads that are left."""
        self.project_in = _linear(full.in_proj_weight[rows], None if bias_in is None else bias_in[rows])
        self.project_out = _linear(weight.masked_fill(~varying, 0)[:, of_heads], bias_out)


def split_attention(traced: Traced) -> dict[str, str]:
    """Make two linear layers and `attend` of every self-attention, and leave out the heads that have no effect.

    Such a head has values (in the sense of queries, keys and values) that nothing reads, or that
    are the same for every token: attention averages them, so that they come out as they are, and go
    into the bias behind. What is made exports to ONNX.

    Args:
        traced: changed in place; attention `x` becomes the layers `x.project_in` and
            `x.project_out`.

    Returns:
        Attention with heads without effect that could not be removed -> the reason.
    """
    kept = {}
    for node in traced.nodes:
        full = traced.called(node)
        if isinstance(full, nn.MultiheadAttention):
            heads, reason = _heads_with_effect(full), _why_not(traced, full, node)
            if not reason:
                heads[0] |= not heads.any()
                _replace(traced, node, full, heads)
            elif not heads.all():
                kept[str(node.target)] = reason
    return kept


def _varying_values(full: nn.MultiheadAttention) -> Bool[Tensor, " features"]:
    """The values that are not the same for every token."""
    weight = full.v_proj_weight if full.in_proj_weight is None else full.in_proj_weight[-full.embed_dim :]
    return weight.any(1)


def _heads_with_effect(full: nn.MultiheadAttention) -> Bool[Tensor, " heads"]:
    read = full.out_proj.weight.any(0)
    return (read & _varying_values(full)).view(full.num_heads, -1).any(1)


def _why_not(traced: Traced, full: nn.MultiheadAttention, node: fx.Node) -> str:
    """Why heads cannot be removed; empty if they can."""
    if traced.kind(node) != "multiheadattention" or traced.is_shared(node):
        return "it runs more than once, or has hooks"
    if full.in_proj_weight is None or full.bias_k is not None or full.add_zero_attn or not full.batch_first:
        return "its attention is of another kind than torchvision's vision transformer has"
    if (
        len(node.args) != 3
        or len(set(node.args)) > 1
        or not set(node.kwargs) <= {"need_weights"}
        or len(traced.shapes[node.all_input_nodes[0]]) != 3
    ):
        return "it is not a batch of tokens that attend to each other, without a mask"
    if any(user.target is not operator.getitem or (user.args[1] != 0 and user.users) for user in node.users):
        return "its attention weights are used"
    return ""


def _replace(traced: Traced, node: fx.Node, full: nn.MultiheadAttention, heads: Bool[Tensor, " heads"]) -> None:
    """Put the projections of some heads, and what is between them, in the place of an attention."""
    name, source = str(node.target), node.all_input_nodes[0]
    traced.module.set_submodule(name, SplitAttention(full, heads))
    with traced.module.graph.inserting_before(node):
        projected = traced.module.graph.call_module(f"{name}.project_in", (source,))
        mixed = traced.module.graph.call_function(attend, (projected, int(heads.sum())))
        result = traced.module.graph.call_module(f"{name}.project_out", (mixed,))
    width = int(heads.sum()) * full.head_dim
    for new, last in ((projected, 3 * width), (mixed, width), (result, full.embed_dim)):
        traced.shapes[new] = torch.Size((*traced.shapes[source][:2], last))
    for user in list(node.users):
        user.replace_all_uses_with(result)
        traced.module.graph.erase_node(user)
    traced.module.graph.erase_node(node)


def _linear(weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"] | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = parameter(weight)
    if bias is not None:
        layer.bias = parameter(bias)
    return layer
