"""Plants a copying circuit into the initial weights.

Looking something up in a passage ends in copying, and copying needs two attention heads that
work together: one that marks every position with the token before it, and a later one that
looks for the mark equal to the current token and repeats what followed. A small model finds
this pair only after a long plateau; given a rough one to start with, it goes on from there at
once. Nothing here is fixed: training changes these weights like all others.

The parts, with random orthonormal projections B, C, C2, D of the model's width:

- every embedding gets the same component along a direction u, so that a query and a key can be
  constant; turned by one (two) positions against each other, they meet at distance 1 (2);
- layer 0 writes B(token before) into the subspace C, and B(the one before that) into C2;
- layer 1 matches B(current) with C and C(current) with C2, on the slow rotary pairs, which keep
  their angle over a passage, and adds D of the token found to the prediction.
"""

import torch
from torch import Tensor

from model import Llama


@torch.no_grad()
def plant_copying(model: Llama, seed: int = 5) -> None:
    """Overwrites the first two heads of the last key/value group of layers 0 and 1 with the circuit."""
    c, g = model.c, torch.Generator().manual_seed(seed)
    d, half = c.head_dim, c.head_dim // 2
    e = model.token_embd.weight
    u = e.mean(0) / e.mean(0).norm()
    body = e - (e @ u)[:, None] * u
    size = float(body.norm(dim=1).mean())
    e.copy_(body + 0.6 * size * u)

    space = min(48, (c.hidden - 1) // 4)
    basis = torch.randn(c.hidden, 1 + 3 * space + max(space, d - space), generator=g)
    basis[:, 0] = u
    basis = torch.linalg.qr(basis).Q[:, 1:].T.contiguous()  # orthonormal and orthogonal to u
    b, c1, c2, rest = basis.split([space, space, space, len(basis) - 3 * space])
    full = torch.cat((b, rest))[:d]  # D and V of layer 0: token identity

    freq = c.rope_base ** (-torch.arange(0, d, 2, dtype=torch.float32) / d)
    group = c.heads // c.kv_heads
    first, second = group * (c.kv_heads - 1), group * (c.kv_heads - 1) + 1
    kv = slice((c.kv_heads - 1) * d, c.kv_heads * d)
    head = lambda h: slice(h * d, (h + 1) * d)
    width = c.hidden ** 0.5

    def pairs(values: Tensor) -> Tensor:
        return values.flatten()  # [half, 2] -> neighbouring pairs

    # Layer 0: constant queries that meet constant keys one and two positions back.
    layer = model.blk[0]
    unit = u * (c.hidden ** -0.5) / 0.51 / layer.attn_norm.weight  # reads the constant as 1
    quick = (torch.arange(half) < 10).float()[:, None] * 6.0
    key = pairs(torch.stack((torch.ones(half), torch.zeros(half)), 1) * quick)
    layer.attn_k.weight[kv] = key[:, None] * unit
    layer.attn_v.weight[kv] = full / layer.attn_norm.weight / width
    for h, back, marks in ((first, 1, c1), (second, 2, c2)):
        # The rotation turns a query at t against a key at t - back by `back` angles; undo it.
        turned = pairs(torch.stack((torch.cos(freq * back), -torch.sin(freq * back)), 1) * quick)
        layer.attn_q.weight[head(h)] = turned[:, None] * unit
        out = torch.zeros(c.hidden, d)
        out[:, :space] = marks.T * size * width / 8
        layer.attn_output.weight[:, head(h)] = out

    # Layer 1: find the position whose marks equal the current token and the one before it.
    layer = model.blk[1]
    slow = torch.arange(d)[d - 40:]
    one, two = slow[:20], slow[20:]
    start = min(20, space - 20)
    other = slice(start, start + 20)
    norm = layer.attn_norm.weight
    strength = 2.4
    k, q1, q2 = torch.zeros(d, c.hidden), torch.zeros(d, c.hidden), torch.zeros(d, c.hidden)
    k[one], k[two] = c1[:20] / norm, c2[other] / norm
    q1[one] = b[:20] / norm
    q2[one], q2[two] = b[:20] / norm, c1[other] / norm
    layer.attn_k.weight[kv] = k * strength
    layer.attn_q.weight[head(first)] = q1 * strength
    layer.attn_q.weight[head(second)] = q2 * strength
    layer.attn_v.weight[kv] = full / norm / width
    for h in (first, second):
        layer.attn_output.weight[:, head(h)] = full.T * size * width / 8
