"""Transformer blocks: tokens (B, N, D) in, tokens out.

The arithmetic and the parameter names are those of timm's pre-norm ``Block``, which
published weights were trained with. A block can also answer for some tokens alone,
seeing all: a last block need not compute what nobody reads.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from geofm.model.patches import take_tokens


def vit_blocks(
    embed_dim: int, *, depth: int, num_heads: int, mlp_ratio: float, norm_eps: float
) -> "Blocks":
    """As many blocks as ``depth``, with random weights."""
    return Blocks(
        Block(embed_dim, num_heads=num_heads, mlp_ratio=mlp_ratio, norm_eps=norm_eps)
        for _ in range(depth)
    )


class Blocks(nn.ModuleList):
    """Blocks one after another.

    Attributes:
        recompute: in training, keep only what enters each block and compute the rest
            again in the backward pass: a fraction of the memory for a third more work.
    """

    recompute = False

    def forward(self, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        """All tokens through every block; out come those at ``keep`` (B, n) alone, or all."""
        for index in range(len(self) - 1):
            tokens = self.step(index, tokens)
        return self.step(len(self) - 1, tokens, keep)

    def step(self, index: int, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        """The tokens through one block."""
        if self.recompute and self.training:
            tokens = checkpoint(self[index], tokens, keep, use_reentrant=False)
        else:
            tokens = self[index](tokens, keep)
        return tokens


class Block(nn.Module):
    """Attention, then a network for each token; both add to what they read normalised."""

    def __init__(
        self, embed_dim: int, *, num_heads: int, mlp_ratio: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.attn = Attention(embed_dim, num_heads)
        self.norm2 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.mlp = Mlp(embed_dim, int(embed_dim * mlp_ratio))

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, N, D) to (B, N, D), or to (B, n, D): the tokens at ``keep`` (B, n), seeing all."""
        seen = self.norm1(x)
        if keep is not None:
            x = take_tokens(x, keep)
        x = x + self.attn(seen, keep)
        refined: Tensor = x + self.mlp(self.norm2(x))
        return refined


class Attention(nn.Module):
    """Multi-head self-attention, softmax(q k / sqrt(D / heads)) v."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, N, D) to (B, N, D), or to what the tokens at ``keep`` (B, n) read: (B, n, D)."""
        if keep is None:
            q, k, v = self._heads(self.qkv(x), 3)
        else:
            width = x.shape[-1]
            weight, bias = self.qkv.weight, self.qkv.bias
            (q,) = self._heads(F.linear(take_tokens(x, keep), weight[:width], bias[:width]), 1)
            k, v = self._heads(F.linear(x, weight[width:], bias[width:]), 2)
        read = F.scaled_dot_product_attention(q, k, v)
        tokens: Tensor = self.proj(read.transpose(1, 2).flatten(2))
        return tokens

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(B, N, parts * D) to as many (B, heads, N, D / heads)."""
        batch, tokens, _ = x.shape
        return x.reshape(batch, tokens, parts, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


class Mlp(nn.Module):
    """Two layers with a GELU (the exact one) between."""

    def __init__(self, embed_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        tokens: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return tokens
