"""Attention that a network writes out, brought into one form: queries, keys and values by heads."""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, fx

from seam.compaction.movement import VIEWS, run_operation
from seam.compaction.operations import ARITHMETIC
from seam.compaction.trace import Traced

ATTENTION = ("headscores", "headmix", "scaleddotproductattention")
_PRODUCTS = ("matmul", "bmm")
_MOVES = (
    *(*VIEWS, "flatten", "unflatten", "transpose", "permute", "swapaxes", "movedim", "contiguous", "clone", "squeeze"),
    *("unsqueeze", "getitem", "unbind", "chunk", "split", "narrow", "indexselect", "identity"),
)


def split_heads(x: Shaped[Tensor, "batch tokens features"], heads: int) -> Shaped[Tensor, "batch heads tokens _"]:
    """The features of each head, which lie one after the other, apart."""
    by_heads: Tensor = x.unflatten(2, (heads, -1)).transpose(1, 2)
    return by_heads


def join_heads(x: Shaped[Tensor, "batch heads tokens _"]) -> Shaped[Tensor, "batch tokens features"]:
    """What all heads have, one after the other."""
    return x.transpose(1, 2).flatten(2)


def head_scores(
    query: Shaped[Tensor, "batch heads tokens _"], key: Shaped[Tensor, "batch heads others _"]
) -> Shaped[Tensor, "batch heads tokens others"]:
    """How much each token attends to each other one, before the softmax."""
    return query @ key.transpose(2, 3)


def head_mix(
    attention: Shaped[Tensor, "batch heads tokens others"], value: Shaped[Tensor, "batch heads others _"]
) -> Shaped[Tensor, "batch heads tokens _"]:
    """Sums of values, weighted."""
    return attention @ value


def gather_heads(traced: Traced) -> None:
    """Write every attention by `split_heads`, `join_heads` and what is between, in place; by numbers it is the same.

    An attention is a product (matmul, einsum, torch's own function) whose operands are features of
    tokens, split into heads and transposed in any way. One without heads has one.
    """
    for node in traced.nodes:
        if traced.kind(node) == "einsum":
            _as_product(traced, node)
    for node in traced.nodes:
        if traced.kind(node) in _PRODUCTS:
            _gather_product(traced, node)
        elif traced.kind(node) == "scaleddotproductattention":
            _gather_function(traced, node)
    for node in traced.nodes:
        if traced.kind(node) in (*VIEWS, "flatten") and len(traced.shapes.get(node, ())) == 3:
            _gather_joined(traced, node)
    traced.module.graph.eliminate_dead_code()


def _gather_product(traced: Traced, node: fx.Node) -> None:
    if len(node.args) != 2 or not all(n in traced.shapes for n in node.all_input_nodes) or node.kwargs:
        return
    one, other = cast("tuple[fx.Node, fx.Node]", node.args)
    ranks = {len(traced.shapes[n]) for n in (one, other)}
    if len(ranks) > 1 or not ranks <= {3, 4}:
        return
    single = ranks == {3}
    query, key = _split_at(traced, one, node), _split_at(traced, other, node, transposed=True)
    if query is not None and key is not None:
        scores = insert(traced, node, head_scores, (query, key))
        result = insert(traced, node, torch.squeeze, (scores, 1)) if single else scores
    else:
        value = _split_at(traced, other, node)
        if value is None:
            return
        weights = insert(traced, node, torch.unsqueeze, (one, 1)) if single else one
        mixed = insert(traced, node, head_mix, (weights, value))
        result = insert(traced, node, join_heads, (mixed,)) if single else mixed
    node.replace_all_uses_with(result)
    traced.module.graph.erase_node(node)


def _gather_function(traced: Traced, node: fx.Node) -> None:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given: dict[str, Any] = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    mask, operands = given.get("attn_mask"), [given[name] for name in names[:3]]
    shape = tuple(traced.shapes.get(mask, ())) if isinstance(mask, fx.Node) else ()
    of_all = len(shape) < 4 or shape[1] == 1
    if not of_all or given.get("dropout_p", 0) or given.get("enable_gqa", False):
        return
    found = [_split_at(traced, operand, node) for operand in operands]
    if any(operand is None or len(traced.shapes[n]) != 4 for operand, n in zip(found, operands, strict=True)):
        return
    scale = given.get("scale")
    node.args = tuple(found)
    node.kwargs = {
        "attn_mask": mask,
        "is_causal": given.get("is_causal", False),
        "scale": traced.shapes[operands[0]][-1] ** -0.5 if scale is None else scale,
    }


def _gather_joined(traced: Traced, node: fx.Node) -> None:
    source = node
    while traced.kind(source) in _MOVES and traced.kind(source) not in ATTENTION:
        source = source.all_input_nodes[0]
    if traced.kind(source) not in ATTENTION[1:]:
        return
    numbers = torch.arange(traced.shapes[source].numel()).view(traced.shapes[source])
    got = _moved(traced, source, node, numbers)
    if got is not None and len(numbers.shape) == 4 and torch.equal(got, join_heads(numbers)):
        node.op, node.target, node.args, node.kwargs = "call_function", join_heads, (source,), {}


def _split_at(traced: Traced, operand: fx.Node, product: fx.Node, transposed: bool = False) -> fx.Node | None:
    """The operand of a product as `split_heads` of features; None: it is not.

    Factors that are numbers stay behind it.
    """
    factors = []
    while traced.kind(operand) in ARITHMETIC and len(operand.all_input_nodes) == 1 and not transposed:
        factors.append(operand)
        operand = operand.all_input_nodes[0]
    if traced.kind(operand) == "splitheads":
        return None
    source = operand
    while traced.kind(source) in _MOVES and (source is operand or source.all_input_nodes):
        source = source.all_input_nodes[0]
        if len(traced.shapes.get(source, ())) == 3:
            found = _features_by_heads(traced, source, operand, transposed)
            if found is not None:
                return _insert_split(traced, source, found, operand, factors, product)
    if len(traced.shapes.get(operand, ())) == 3 and not transposed:
        whole = torch.arange(traced.shapes[operand][2])[None]
        return _insert_split(traced, operand, whole, operand, factors, product)
    return None


def _features_by_heads(
    traced: Traced, source: fx.Node, operand: fx.Node, transposed: bool
) -> Int[Tensor, "heads features"] | None:
    """Which features of `source` each head has, if a chain of moves does nothing but split heads."""
    shape = traced.shapes[source]
    numbers = torch.arange(shape.numel()).view(shape)
    got = _moved(traced, source, operand, numbers)
    if got is None or got.dim() not in (3, 4) or len(got) != shape[0]:
        return None
    by_heads = got.transpose(-2, -1) if transposed else got
    by_heads = by_heads if by_heads.dim() == 4 else by_heads[:, None]
    found = by_heads[0, :, 0]
    if by_heads.shape[2] != shape[1] or int(found.max()) >= shape[2]:
        return None
    same = torch.equal(by_heads, split_heads(numbers[..., found.flatten()], len(found)))
    return found if same else None


def _moved(traced: Traced, source: fx.Node, result: fx.Node, numbers: Tensor) -> Tensor | None:
    chain = [result]
    while chain[-1].all_input_nodes[0] is not source:
        chain.append(chain[-1].all_input_nodes[0])
    value: Any = numbers
    for step in reversed(chain):
        value = run_operation(traced, step, {step.all_input_nodes[0]: value})
        if value is None:
            return None
    return value if isinstance(value, Tensor) else None


def _insert_split(
    traced: Traced,
    source: fx.Node,
    features: Int[Tensor, "heads features"],
    operand: fx.Node,
    factors: list[fx.Node],
    before: fx.Node,
) -> fx.Node:
    heads, order = len(features), features.flatten()
    if not torch.equal(order, torch.arange(traced.shapes[source][2])):
        if torch.equal(order, torch.arange(len(order)) + order[0]):
            source = insert(traced, before, torch.narrow, (source, 2, int(order[0]), len(order)))
        else:
            name = f"{before.name}_{operand.name}_features"
            traced.module.register_buffer(name, order, persistent=False)
            with traced.module.graph.inserting_before(before):
                index = traced.module.graph.get_attr(name)
            source = insert(traced, before, torch.index_select, (source, 2, index))
    result = insert(traced, before, split_heads, (source, heads))
    for factor in reversed(factors):
        args, kwargs = fx.node.map_arg((factor.args, factor.kwargs), {factor.all_input_nodes[0]: result}.__getitem__)
        with traced.module.graph.inserting_before(before):
            new = traced.module.graph.create_node(factor.op, factor.target, args, kwargs)
        traced.shapes[new] = traced.shapes[result]
        result = new
    return result


def insert(traced: Traced, before: fx.Node, function: Any, args: tuple[Any, ...]) -> fx.Node:
    """Add a function to the graph; its shape is that for the images the network was traced with."""
    with traced.module.graph.inserting_before(before):
        node = traced.module.graph.call_function(function, args)
    values = [
        torch.empty(traced.shapes[a], device="meta") if isinstance(a, fx.Node) and a in traced.shapes else a
        for a in args
    ]
    if function is torch.index_select:
        values[2] = torch.empty(len(traced.module.get_buffer(str(args[2].target))), dtype=torch.long, device="meta")
    traced.shapes[node] = function(*values).shape
    return node


def _as_product(traced: Traced, node: fx.Node) -> None:
    """A sum over one index of two tensors (einsum) as a product of matrices, their axes permuted."""
    equation, *operands = node.args
    if not isinstance(equation, str) or len(operands) != 2 or node.kwargs or "." in equation or "->" not in equation:
        return
    left, out = equation.replace(" ", "").split("->")
    one, other = left.split(",")
    batch = [c for c in out if c in one and c in other]
    summed = [c for c in one if c in other and c not in out]
    rows, columns = ([c for c in own if c in out and c not in batch] for own in (one, other))
    lengths = {len(summed), len(rows), len(columns)}
    letters = (len(set(one)), len(set(other)), len(out)) == (len(one), len(other), len(batch) + 2)
    if lengths != {1} or not letters or len(one) != len(batch) + 2 or len(other) != len(batch) + 2:
        return
    first = _permuted(traced, node, cast("fx.Node", operands[0]), one, [*batch, *rows, *summed])
    second = _permuted(traced, node, cast("fx.Node", operands[1]), other, [*batch, *summed, *columns])
    product = insert(traced, node, torch.matmul, (first, second))
    result = _permuted(traced, node, product, "".join([*batch, *rows, *columns]), list(out))
    node.replace_all_uses_with(result)
    traced.module.graph.erase_node(node)


def _permuted(traced: Traced, before: fx.Node, value: fx.Node, letters: str, wanted: list[str]) -> fx.Node:
    axes = tuple(letters.index(c) for c in wanted)
    return value if axes == tuple(range(len(axes))) else insert(traced, before, torch.permute, (value, axes))
