"""Two networks with an optimizer each, on losses of their own, as a critic and an actor have."""

import torch
from torch import nn

torch.manual_seed(0)
states, values, actions = torch.randn(64, 8), torch.randn(64, 1), torch.randint(0, 3, (64,))
critic = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
actor = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
critic_optimizer = torch.optim.AdamW(critic.parameters(), lr=2e-3)
actor_optimizer = torch.optim.SGD(actor.parameters(), lr=1e-2, momentum=0.9)

for _ in range(1_000_000):
    critic_optimizer.zero_grad()
    nn.functional.mse_loss(critic(states), values).backward()
    critic_optimizer.step()

    actor_optimizer.zero_grad()
    nn.functional.cross_entropy(actor(states), actions).backward()
    actor_optimizer.step()
