"""A small GPT that learns the text of Python's own manual, one character at a time.

    lrscout find-lr recipes/char_gpt.py:build
    lrscout find-lr --recipe recipes/char_gpt.yaml

The model computes its own loss, so there is no `loss_fn`: a batch `(inputs, targets)` is passed as
`model(inputs, targets)`. The text ships with every CPython, so only torch is needed.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

VAL_SHARE = 0.1  # share of the text, at its end, that is held out


def build(batch_size: int = 32, context: int = 64, width: int = 64, depth: int = 2, heads: int = 4) -> dict[str, Any]:
    codes, vocabulary = load_text()
    cut = int(len(codes) * (1 - VAL_SHARE))
    model = GPT(vocabulary, context, width, depth, heads)
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]  # biases and norms: weight decay only hurts them
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return {
        "model": model,
        "train_loader": DataLoader(windows(codes[:cut], context), batch_size, shuffle=True, drop_last=True),
        "val_loader": DataLoader(windows(codes[cut:], context), batch_size),
        "optimizer": torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95)),
    }


def load_text() -> tuple[Tensor, int]:
    """Return the manual as one code per character (N,), and the number of distinct characters."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    code_of = {character: code for code, character in enumerate(sorted(set(text)))}
    return torch.tensor([code_of[character] for character in text]), len(code_of)


def windows(codes: Tensor, context: int) -> TensorDataset:
    """Return pieces of the text and, for each of their characters, the next one."""
    pieces = codes.unfold(0, context + 1, context)  # (N,) -> (pieces, context + 1); neighbors share one character
    return TensorDataset(pieces[:, :-1], pieces[:, 1:])


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:  # (B, T, C) -> (B, T, C)
        # unflatten: (B, T, 3C) -> (B, T, 3, H, C/H); permute: -> (3, B, H, T, C/H)
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, C/H)
        x = x + self.merge(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, vocabulary: int, context: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.character = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)), nn.LayerNorm(width))
        self.head = nn.Linear(width, vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:  # small weights: predictions start almost uniform, with loss ln(vocabulary)
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:  # (B, T), (B, T) -> ()
        places = torch.arange(inputs.shape[1], device=inputs.device)
        logits = self.head(self.blocks(self.character(inputs) + self.position(places)))  # (B, T, V)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
