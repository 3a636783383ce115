"""Small tasks on which a sweep alone is easily wrong: convex problems that one step solves, and small noisy batches."""

from __future__ import annotations

import torch
from common import digits, mlp, mnist1d, table, task
from torch import nn

STEPS = 400


def cancer_logistic_sgd(seed=0, batch_size=32):
    """Convex, and hardly ever diverges: the loss grows with the rate and not beyond."""
    torch.manual_seed(seed)
    x, y = table("breast_cancer")
    model = nn.Linear(30, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    return task(model, (x, y.float().unsqueeze(1)), optimizer, nn.BCEWithLogitsLoss(), batch_size, seed)


def digits_logistic_sgd(seed=0, batch_size=32):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    return task(model, digits(), optimizer, nn.CrossEntropyLoss(), batch_size, seed)


def diabetes_mlp_adam(seed=0, batch_size=8):
    torch.manual_seed(seed)
    x, y = table("diabetes")
    y = ((y - y.mean()) / y.std()).float().unsqueeze(1)
    model = mlp([10, 64, 64, 1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return task(model, (x, y), optimizer, nn.MSELoss(), batch_size, seed)


def mnist1d_mlp_adam(seed=0, batch_size=8):
    torch.manual_seed(seed)
    model = mlp([40, 100, 100, 10])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return task(model, mnist1d(), optimizer, nn.CrossEntropyLoss(), batch_size, seed)


def cancer_mlp_adam(seed=0, batch_size=8):
    torch.manual_seed(seed)
    x, y = table("breast_cancer")
    model = mlp([30, 32, 1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return task(model, (x, y.float().unsqueeze(1)), optimizer, nn.BCEWithLogitsLoss(), batch_size, seed)


TASKS = [cancer_logistic_sgd, digits_logistic_sgd, diabetes_mlp_adam, mnist1d_mlp_adam, cancer_mlp_adam]
