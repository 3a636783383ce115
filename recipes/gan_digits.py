"""A small GAN on handwritten digits: two models with an optimizer each.

    lrscout find-lr --recipe recipes/gan_digits.yaml                   # one multiplier for both rates
    lrscout find-lr recipes/gan_digits.py:build --val-batches 1 --optimizer generator  # its rate alone

The step returns a loss for each optimizer, under its name: lrscout calls backward for both, so that each reaches the
parameters of its own optimizer alone, and then steps both. What these losses say depends on the opponent, so `val_step`
measures how far the generated images are from real ones, and `--val-batches` reads the rate off that. The digits come
with scikit-learn: `pip install "lrscout[recipes]"`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.utils.data import DataLoader, TensorDataset

NOISE = 16  # numbers that an image is generated from
PIXELS = 64
VAL_SHARE = 0.2  # share of the images that is held out


def build(batch_size: int = 64, width: int = 128, ratio: float = 2.0) -> dict[str, Any]:
    """Build a GAN whose discriminator learns at `ratio` times the rate of its generator."""
    images = load_digits()
    # The split is fixed, so runs with different seeds are evaluated on the same images.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    val, train = order.split([int(VAL_SHARE * len(order)), len(order) - int(VAL_SHARE * len(order))])
    generator = nn.Sequential(
        nn.Linear(NOISE, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, PIXELS), nn.Tanh()
    )
    discriminator = nn.Sequential(
        nn.Linear(PIXELS, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1)
    )

    def losses(real: Tensor) -> dict[str, Tensor]:
        """The non-saturating losses of a batch (B, 64): the less, the better each of them does."""
        fake = generator(torch.randn(len(real), NOISE, device=real.device))  # (B, 64)
        judged = discriminator(fake)  # (B, 1); large where they pass for real
        return {
            "generator": softplus(-judged).mean(),
            "discriminator": softplus(-discriminator(real)).mean() + softplus(discriminator(fake.detach())).mean(),
        }

    noise = torch.randn(batch_size, NOISE, generator=torch.Generator().manual_seed(0))

    def distance(real: Tensor) -> Tensor:
        """The energy distance between a batch (B, 64) of real images and generated ones; 0 if they are alike."""
        fake = generator(noise.to(real.device))
        return 2 * torch.cdist(real, fake).mean() - torch.cdist(real, real).mean() - torch.cdist(fake, fake).mean()

    rate = {"generator": 1e-3, "discriminator": ratio * 1e-3}
    return {
        "model": nn.ModuleDict({"generator": generator, "discriminator": discriminator}),
        "train_loader": DataLoader(
            TensorDataset(images[train]), batch_size, shuffle=True, drop_last=True, collate_fn=stacked
        ),
        "val_loader": DataLoader(TensorDataset(images[val]), batch_size, collate_fn=stacked),
        "optimizer": {
            name: torch.optim.Adam(model.parameters(), lr=rate[name], betas=(0.5, 0.999))
            for name, model in (("generator", generator), ("discriminator", discriminator))
        },
        "step": losses,
        "val_step": distance,
    }


def stacked(samples: list[tuple[Tensor]]) -> Tensor:
    """Make a batch (B, 64) of images."""
    return torch.stack([image for (image,) in samples])


def load_digits() -> Tensor:
    """Return the images (N, 64), with pixels from -1 to 1."""
    from sklearn.datasets import load_digits as load

    return torch.tensor(load().data, dtype=torch.float32) / 8 - 1  # pixels are 0 to 16
