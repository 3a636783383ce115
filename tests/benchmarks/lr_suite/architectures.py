"""Architectures as people build them, small in width and not in kind, and the optimizers that torch has none of."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads, causal=False, dropout=0.0):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.merge = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, memory=None):  # (B, T, C)[, (B, S, C)] -> (B, T, C)
        memory = x if memory is None else memory
        split = [layer(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer, y in
                 ((self.query, x), (self.key, memory), (self.value, memory))]  # fmt: skip
        mixed = F.scaled_dot_product_attention(*split, is_causal=self.causal)
        return self.dropout(self.merge(mixed.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """One layer of a transformer, normalised before (GPT, ViT) or after (BERT, the original) each part."""

    def __init__(self, width, heads, causal=False, post_norm=False, cross=False, dropout=0.0):
        super().__init__()
        self.post_norm = post_norm
        self.attention = Attention(width, heads, causal, dropout)
        self.cross = Attention(width, heads, dropout=dropout) if cross else None
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 if cross else 2))

    def forward(self, x, memory=None):
        parts = [self.attention, *([lambda y: self.cross(y, memory)] if self.cross is not None else []), self.mlp]
        for norm, part in zip(self.norms, parts):
            x = norm(x + part(x)) if self.post_norm else x + part(norm(x))
        return x


def small_normal(model, std=0.02, depth=None):
    """The initialisation of GPT-2, BERT and ViT: N(0, 0.02), no biases; with `depth`, narrower into the residuals."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.dim() >= 2:
            into_residual = depth is not None and name.endswith(("merge.weight", "mlp.2.weight"))
            nn.init.normal_(parameter, std=std / math.sqrt(2 * depth) if into_residual else std)


class GPT(nn.Module):
    """Pre-norm, learned positions, head tied to the embedding; `own_init` False leaves torch's initialisation."""

    def __init__(self, vocab=128, width=64, depth=2, heads=4, length=64, tied=True, own_init=True, dropout=0.0):
        super().__init__()
        self.token, self.position = nn.Embedding(vocab, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads, causal=True, dropout=dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)
        if tied:
            self.head.weight = self.token.weight
        if own_init:
            small_normal(self, depth=depth)

    def forward(self, ids):  # (B, T) -> (B, T, V)
        x = self.token(ids) + self.position.weight[: ids.shape[1]]
        return self.head(self.norm(self.blocks(x)))


class Encoder(nn.Module):
    """Post-norm with dropout, as BERT; a class for the whole text from its first place, or a token for every place."""

    def __init__(self, outputs, per_token, vocab=128, width=64, depth=2, heads=4, length=64, dropout=0.1):
        super().__init__()
        self.per_token = per_token
        self.token, self.position = nn.Embedding(vocab, width), nn.Embedding(length, width)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, post_norm=True, dropout=dropout) for _ in range(depth)))
        self.pool = nn.Sequential(nn.Linear(width, width), nn.GELU() if per_token else nn.Tanh())
        self.head = nn.Linear(width, outputs)
        small_normal(self)

    def forward(self, ids):  # (B, T) -> (B, outputs) or (B, T, outputs)
        x = self.blocks(self.dropout(self.norm(self.token(ids) + self.position.weight)))
        return self.head(self.pool(x if self.per_token else x[:, 0]))


class EncoderDecoder(nn.Module):
    """Pre-norm, one embedding for both sides and the head. Source and shifted target come as one row of tokens."""

    def __init__(self, vocab=129, width=64, depth=2, heads=4, length=48):
        super().__init__()
        self.length = length
        self.token, self.position = nn.Embedding(vocab, width), nn.Embedding(length, width)
        self.encoder = nn.Sequential(*(Block(width, heads) for _ in range(depth)), nn.LayerNorm(width))
        self.decoder = nn.ModuleList(Block(width, heads, causal=True, cross=True) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        small_normal(self)

    def forward(self, ids):  # (B, 2 T) -> (B, T, V)
        source, target = (self.token(part) + self.position.weight for part in ids.split(self.length, 1))
        memory = self.encoder(source)
        for block in self.decoder:
            target = block(target, memory)
        return self.norm(target) @ self.token.weight.T


class ViT(nn.Module):
    """Patches of 2 x 2 pixels of an 8 x 8 image, and a class token."""

    def __init__(self, outputs=10, width=48, depth=3, heads=4):
        super().__init__()
        self.patches = nn.Linear(4, width)
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, 17, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)
        small_normal(self)

    def forward(self, images):  # (B, 8, 8) -> (B, 10)
        patches = images.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3).flatten(1, 2)  # (B, 16, 4)
        x = torch.cat([self.first.expand(len(images), -1, -1), self.patches(patches)], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


class WordLSTM(nn.Module):
    """A word-level language model, initialised uniformly as pytorch's example does."""

    def __init__(self, vocab, width=96, layers=2):
        super().__init__()
        self.token = nn.Embedding(vocab, width)
        self.rnn = nn.LSTM(width, width, layers, batch_first=True, dropout=0.2)
        self.head = nn.Linear(width, vocab)
        nn.init.uniform_(self.token.weight, -0.1, 0.1)
        nn.init.uniform_(self.head.weight, -0.1, 0.1)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids):  # (B, T) -> (B, T, V)
        return self.head(self.rnn(self.token(ids))[0])


class ResidualUnit(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.skip = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return torch.relu(self.inner(x) + self.skip(x))


def resnet(outputs=10, width=8):
    """Three stages of two units each, for 8 x 8 images."""
    model = nn.Sequential(
        nn.Unflatten(1, (1, 8)), nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        ResidualUnit(width, width, 1), ResidualUnit(width, width, 1),
        ResidualUnit(width, 2 * width, 2), ResidualUnit(2 * width, 2 * width, 1),
        ResidualUnit(2 * width, 4 * width, 2), ResidualUnit(4 * width, 4 * width, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, outputs),
    )  # fmt: skip
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


class MixerBlock(nn.Module):
    def __init__(self, tokens, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = nn.Sequential(nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens))
        self.within = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):  # (B, T, C)
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.within(self.norm2(x))


class Mean(nn.Module):
    def forward(self, x):  # (B, T, C) -> (B, C)
        return x.mean(1)


def mixer(outputs=10, width=32, depth=3, tokens=10, patch=4):
    """An MLP-Mixer over a signal cut into patches."""
    blocks = (MixerBlock(tokens, width) for _ in range(depth))
    return nn.Sequential(
        nn.Unflatten(1, (tokens, patch)), nn.Linear(patch, width), *blocks,
        nn.LayerNorm(width), Mean(), nn.Linear(width, outputs),
    )  # fmt: skip


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, LayerNorm, inverted bottleneck, and a scale that begins at almost nothing."""

    def __init__(self, width):
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = nn.Parameter(1e-6 * torch.ones(width))

    def forward(self, x):  # (B, C, L)
        return x + (self.scale * self.inner(self.norm(self.depthwise(x).transpose(1, 2)))).transpose(1, 2)


def convnext(outputs=10, width=24):
    """Two stages over a signal of 40 values."""
    model = nn.Sequential(
        nn.Unflatten(1, (1, 40)), nn.Conv1d(1, width, 4, 4), ConvNeXtBlock(width), ConvNeXtBlock(width),
        nn.Conv1d(width, 2 * width, 2, 2), ConvNeXtBlock(2 * width), ConvNeXtBlock(2 * width),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.LayerNorm(2 * width), nn.Linear(2 * width, outputs),
    )  # fmt: skip
    for module in model.modules():
        if isinstance(module, (nn.Conv1d, nn.Linear)):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    return model


class UNet(nn.Module):
    """Predicts the noise in an 8 x 8 image; GroupNorm and SiLU, one level of skip connections."""

    def __init__(self, width=24):
        super().__init__()
        self.enter = nn.Conv2d(1, width, 3, padding=1)
        self.high = self._unit(width, width)
        self.down = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.low = self._unit(2 * width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.join = self._unit(2 * width, width)
        self.leave = nn.Conv2d(width, 1, 3, padding=1)

    @staticmethod
    def _unit(inputs, outputs):
        return nn.Sequential(
            nn.GroupNorm(4, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.GroupNorm(4, outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1),
        )  # fmt: skip

    def forward(self, images):  # (B, 8, 8) -> (B, 8, 8)
        high = self.high(self.enter(images.unsqueeze(1)))
        low = self.low(self.down(high))
        return self.leave(self.join(torch.cat([high, self.up(low)], 1))).squeeze(1)


class TwoViews(nn.Module):
    """Embeds two views of every image on the unit sphere."""

    def __init__(self, width=32, outputs=32):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(2 * width, 2 * width), nn.BatchNorm1d(2 * width), nn.ReLU(), nn.Linear(2 * width, outputs),
        )  # fmt: skip

    def forward(self, views):  # (B, 2, 8, 8) -> (B, 2, D)
        return F.normalize(self.body(views.flatten(0, 1).unsqueeze(1)), dim=1).unflatten(0, (-1, 2))


class ContrastiveLoss(nn.Module):
    """Which of the other views is of the same image (van den Oord et al. 2018); the target is not looked at."""

    def forward(self, embedded, _):
        near = embedded[:, 0] @ embedded[:, 1].T / 0.2
        labels = torch.arange(len(near))
        return (F.cross_entropy(near, labels) + F.cross_entropy(near.T, labels)) / 2


class LowRank(nn.Module):
    """A frozen linear layer plus a trained product of two thin matrices, the second of them zero at first."""

    def __init__(self, frozen, rank=4, scale=2.0):
        super().__init__()
        self.frozen, self.scale = frozen, scale
        self.a = nn.Parameter(torch.randn(rank, frozen.in_features) / math.sqrt(frozen.in_features))
        self.b = nn.Parameter(torch.zeros(frozen.out_features, rank))

    def forward(self, x):
        return self.frozen(x) + self.scale * (x @ self.a.T @ self.b.T)


def with_adapters(model):
    """Freeze the model and put adapters on its attention."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, Attention):
            for name in ("query", "key", "value", "merge"):
                setattr(module, name, LowRank(getattr(module, name)))
    return model


class Lion(torch.optim.Optimizer):
    """The sign of an interpolated momentum (Chen et al. 2023, https://arxiv.org/abs/2302.06675)."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            (fast, slow), lr = group["betas"], group["lr"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                p.mul_(1 - lr * group["weight_decay"])
                p.sub_(lr * torch.sign(momentum * fast + p.grad * (1 - fast)))
                momentum.lerp_(p.grad, 1 - slow)


class MuonWithAdam(torch.optim.Optimizer):
    """Muon for hidden matrices, Adam for the rest, in one optimizer, as its users write it."""

    def __init__(self, matrices, others, lr=0.02, adam_lr=3e-3):
        super().__init__(
            [{"params": matrices, "lr": lr, "muon": True}, {"params": others, "lr": adam_lr, "muon": False}], {}
        )

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if group["muon"]:
                    momentum = state.setdefault("momentum", torch.zeros_like(p))
                    momentum.lerp_(p.grad, 0.05)
                    update = orthogonalized(p.grad.lerp(momentum, 0.95))
                    p.sub_(group["lr"] * max(1, p.shape[0] / p.shape[1]) ** 0.5 * update)
                else:
                    state["step"] = state.get("step", 0) + 1
                    first = state.setdefault("first", torch.zeros_like(p)).lerp_(p.grad, 0.1)
                    second = state.setdefault("second", torch.zeros_like(p)).lerp_(p.grad.square(), 0.05)
                    correct = math.sqrt(1 - 0.95 ** state["step"]) / (1 - 0.9 ** state["step"])
                    p.sub_(group["lr"] * correct * first / (second.sqrt() + 1e-10))


def orthogonalized(matrix):
    """The nearest orthogonal matrix, roughly, by five steps of Newton and Schulz (Jordan et al. 2024)."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
