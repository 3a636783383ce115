"""Two networks with an Adam each, whose steps alternate, as in pytorch/examples/dcgan."""

import torch
from torch import nn

torch.manual_seed(0)
generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
discriminator = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
criterion = nn.BCEWithLogitsLoss()
d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
g_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-4, betas=(0.5, 0.999))
real, noise = torch.randn(32, 2) * 0.5 + 1, torch.randn(32, 4)
ones, zeros = torch.ones(32, 1), torch.zeros(32, 1)

for _ in range(1_000_000):
    discriminator.zero_grad()
    real_loss = criterion(discriminator(real), ones)
    real_loss.backward()
    fake = generator(noise)
    fake_loss = criterion(discriminator(fake.detach()), zeros)
    fake_loss.backward()
    d_optimizer.step()

    generator.zero_grad()
    g_loss = criterion(discriminator(fake), ones)
    g_loss.backward()
    g_optimizer.step()
