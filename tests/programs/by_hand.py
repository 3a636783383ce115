"""Updates its weights itself, without an optimizer, as in pytorch/examples/word_language_model."""

import torch

weight = torch.ones(4, requires_grad=True)
for _ in range(20):
    loss = (weight**2).sum()
    loss.backward()
    with torch.no_grad():
        weight -= 0.1 * weight.grad
        weight.grad = None
print("loss", loss.item())
