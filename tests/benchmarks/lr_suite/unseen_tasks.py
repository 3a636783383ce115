"""Architectures as people build them, half two: no constant was chosen on these. As `chosen_tasks.py`."""

from __future__ import annotations

import copy
import functools

import torch
from architectures import GPT, ContrastiveLoss, Encoder, EncoderDecoder, TwoViews, UNet, convnext
from chosen_tasks import decayed, text_task, trained_gpt
from common import CharLoss, digits, mnist1d, stdlib_code, task, topics_text, windows
from torch import nn

STEPS = 400
LOWEST = {"corrector_encdec_adafactor": -4}


def gpt4_layers_adamw(seed=0, batch_size=8):
    """Four layers, tied, N(0, 0.02), betas 0.9 and 0.99, over characters and not bytes."""
    torch.manual_seed(seed)
    codes = topics_text()
    known, places = torch.unique(codes, return_inverse=True)
    model = GPT(vocab=len(known), depth=4, width=48, length=48)
    return text_task(model, places, decayed(model, 1e-3, (0.9, 0.99)), seed, batch_size, 48)


def gpt2_own_init_adamw(seed=0, batch_size=8):
    """Two layers, torch's own initialisation, betas 0.9 and 0.95."""
    torch.manual_seed(seed)
    model = GPT(tied=False, own_init=False)
    return text_task(model, topics_text(), decayed(model, 1e-3, (0.9, 0.95)), seed, batch_size)


@functools.cache
def masked_code(length=48):
    """Source code with 15 % of its characters hidden, and the hidden ones (-100 elsewhere, which the loss skips)."""
    ids, _ = windows(stdlib_code(), length, 160_000)
    random = torch.Generator().manual_seed(8)
    hidden = torch.rand(ids.shape, generator=random) < 0.15
    return ids.masked_fill(hidden, 0), ids.masked_fill(~hidden, -100)


def bert_masked_adamw(seed=0, batch_size=16):
    torch.manual_seed(seed)
    model = Encoder(128, per_token=True, width=48, length=48)
    optimizer = decayed(model, 1e-4, (0.9, 0.999), 0.01)
    return task(model, masked_code(), optimizer, CharLoss(), batch_size, seed, val_limit=256)


@functools.cache
def misspelt(length=32):
    """(source and shifted target in one row, target): a tenth of the source's characters are replaced."""
    ids, _ = windows(topics_text(), length, 120_000)
    random = torch.Generator().manual_seed(9)
    wrong = torch.rand(ids.shape, generator=random) < 0.1
    source = torch.where(wrong, torch.randint(32, 127, ids.shape, generator=random), ids)
    shifted = torch.cat([torch.full((len(ids), 1), 128), ids[:, :-1]], 1)
    return torch.cat([source, shifted], 1), ids


def corrector_encdec_adafactor(seed=0, batch_size=8):
    torch.manual_seed(seed)
    model = EncoderDecoder(width=48, length=32)
    optimizer = torch.optim.Adafactor(model.parameters(), lr=1e-2)
    return task(model, misspelt(), optimizer, CharLoss(), batch_size, seed, val_limit=128)


def mnist1d_convnext_adamw(seed=0, batch_size=32):
    torch.manual_seed(seed)
    model = convnext()
    optimizer = decayed(model, 4e-3, (0.9, 0.999), 0.05)
    return task(model, mnist1d(), optimizer, nn.CrossEntropyLoss(), batch_size, seed)


@functools.cache
def noisy_digits(copies=4):
    """Digits under noise of one to three times their spread, and the noise."""
    images = digits()[0].repeat(copies, 1, 1)
    random = torch.Generator().manual_seed(10)
    noise = torch.randn(images.shape, generator=random)
    level = 0.3 + torch.rand(len(images), 1, 1, generator=random)
    return (images + level * noise) / (1 + level**2).sqrt(), noise


def denoising_unet_adamw(seed=0, batch_size=24):
    torch.manual_seed(seed)
    model = UNet(width=16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    return task(model, noisy_digits(), optimizer, nn.MSELoss(), batch_size, seed, val_limit=1024)


@functools.cache
def two_views():
    """Every digit twice, each time moved by up to a pixel and under noise of its own."""
    images = digits()[0].repeat(2, 1, 1)
    random = torch.Generator().manual_seed(11)
    views = []
    for _ in range(2):
        moved = torch.stack(
            [torch.roll(image, torch.randint(-1, 2, (2,), generator=random).tolist(), (0, 1)) for image in images]
        )
        views.append(moved + 0.3 * torch.randn(moved.shape, generator=random))
    return torch.stack(views, 1), torch.zeros(len(images))


def contrastive_digits_adamw(seed=0, batch_size=64):
    torch.manual_seed(seed)
    model = TwoViews()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    return task(model, two_views(), optimizer, ContrastiveLoss(), batch_size, seed, eval_batch=128)


def gpt_finetune_adamw(seed=0, batch_size=8):
    """Every weight of a GPT that knows English goes on with Python."""
    model = copy.deepcopy(trained_gpt())
    torch.manual_seed(seed)
    return text_task(model, stdlib_code(), decayed(model, 1e-4, (0.9, 0.95)), seed, batch_size)


TASKS = [
    gpt4_layers_adamw,
    gpt2_own_init_adamw,
    bert_masked_adamw,
    corrector_encdec_adafactor,
    mnist1d_convnext_adamw,
    denoising_unet_adamw,
    contrastive_digits_adamw,
    gpt_finetune_adamw,
]
