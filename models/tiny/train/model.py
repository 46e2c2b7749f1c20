"""A Llama-architecture transformer in PyTorch, small enough to train on two CPU cores.

Rotary embedding turns neighbouring pairs (2i, 2i+1), which is the layout GGUF's `llama`
architecture expects, so the weights are exported as they are, without a permutation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Config:
    """The shape of a model. The widths of `tiny` are multiples of 256, the block size of the k-quants."""

    name: str
    vocab: int = 1280
    hidden: int = 256
    ffn: int = 512
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    context: int = 1024
    rope_base: float = 10000.0
    eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads


# `draft` is the small sibling for speculative decoding: the same tokenizer, less than a quarter of the size. Copying
# takes two layers, and every further one would cost a draft more time than it saves.
PRESETS = {"tiny": Config("garrison-tiny"),
           "draft": Config("garrison-tiny-draft", hidden=128, ffn=256, layers=2, heads=2, kv_heads=1)}


class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Scales every row to unit mean square, then by the learned weight."""
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rope_tables(c: Config) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position and pair."""
    freq = c.rope_base ** (-torch.arange(0, c.head_dim, 2, dtype=torch.float32) / c.head_dim)
    angle = torch.outer(torch.arange(c.context, dtype=torch.float32), freq)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the pairs of x [batch, heads, time, head_dim] by the angles of their positions."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)


class Block(nn.Module):
    """Attention and the gated feed-forward network, both with a residual path."""

    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        kv = c.kv_heads * c.head_dim
        self.attn_norm, self.ffn_norm = Norm(c.hidden, c.eps), Norm(c.hidden, c.eps)
        self.attn_q = nn.Linear(c.hidden, c.hidden, bias=False)
        self.attn_k = nn.Linear(c.hidden, kv, bias=False)
        self.attn_v = nn.Linear(c.hidden, kv, bias=False)
        self.attn_output = nn.Linear(c.hidden, c.hidden, bias=False)
        self.ffn_gate = nn.Linear(c.hidden, c.ffn, bias=False)
        self.ffn_up = nn.Linear(c.hidden, c.ffn, bias=False)
        self.ffn_down = nn.Linear(c.ffn, c.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: list | None, keep: Tensor | None) -> Tensor:
        """`cache` holds the keys and values so far, or is None while training.

        With `keep` only those rows are computed past the attention; they come back as [rows, width].
        """
        c, (b, t, _) = self.c, x.shape
        h = self.attn_norm(x)
        q = self.attn_q(h).view(b, t, c.heads, c.head_dim).transpose(1, 2)
        k = self.attn_k(h).view(b, t, c.kv_heads, c.head_dim).transpose(1, 2)
        v = self.attn_v(h).view(b, t, c.kv_heads, c.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            if cache:
                k, v = torch.cat((cache[0], k), 2), torch.cat((cache[1], v), 2)
            cache[:] = [k, v]
        group = c.heads // c.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        # With a filled cache there is one new position, which may look at everything.
        a = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
        a = a.transpose(1, 2).reshape(b, t, c.hidden)
        if keep is not None:
            a, x = a[keep], x[keep]
        x = x + self.attn_output(a)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Llama(nn.Module):
    """The whole model; the output matrix is the embedding matrix."""

    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        self.token_embd = nn.Embedding(c.vocab, c.hidden)
        self.blk = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.output_norm = Norm(c.hidden, c.eps)
        cos, sin = rope_tables(c)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                # Small outputs at the start leave the token itself the loudest in the residual stream.
                std = 0.05 if "embd" in name else c.hidden ** -0.5
                if name.endswith(("attn_output.weight", "ffn_down.weight")):
                    std = 0.02 * (2 * c.layers) ** -0.5
                nn.init.normal_(p, std=std)

    def hidden(self, ids: Tensor, cache: list[list] | None = None, start: int = 0, keep: Tensor | None = None) -> Tensor:
        """The normalised last hidden states of ids [batch, time], which stand at position `start` on.

        Training asks for the rows it has a loss on (`keep`), which saves most of the last block.
        """
        x = self.token_embd(ids)
        cos, sin = self.cos[start:start + ids.shape[1]], self.sin[start:start + ids.shape[1]]
        for i, block in enumerate(self.blk):
            last = i + 1 == len(self.blk)
            x = block(x, cos, sin, None if cache is None else cache[i], keep if last else None)
        return self.output_norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every token of the vocabulary."""
        return hidden @ self.token_embd.weight.T

    def greedy(self, ids: list[int], limit: int, stop: set[int]) -> list[int]:
        """The most likely continuation, without the stop token."""
        out = self.generate(ids, limit, stop, lambda logits: int(logits.argmax()))
        return out[:-1] if out and out[-1] in stop else out

    @torch.no_grad()
    def generate(self, ids: list[int], limit: int, stop: set[int], pick: Callable[[Tensor], int]) -> list[int]:
        """A continuation, token by token, up to and with the stop token; `pick` chooses from the logits [vocab]."""
        cache: list[list] = [[] for _ in self.blk]
        out: list[int] = []
        step, start = torch.tensor([ids]), 0
        while len(out) < limit and start + step.shape[1] <= self.c.context:
            h = self.hidden(step, cache, start)
            start += step.shape[1]
            token = pick(self.logits(h[0, -1]))
            out.append(token)
            if token in stop:
                break
            step = torch.tensor([[token]])
        return out
