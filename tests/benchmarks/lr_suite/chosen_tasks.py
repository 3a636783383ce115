"""Architectures as people build them, half one: the constants of the rule were chosen on these (and on small tasks).

Each task is a function of a seed, as in `tasks.py`; `settings` holds what the target form has no key for, and
`LOWEST` the decade where a grid that is not from 1e-5 to 1e-1 begins.
"""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path

import torch
from architectures import (
    GPT,
    Encoder,
    Lion,
    MuonWithAdam,
    ViT,
    WordLSTM,
    mixer,
    resnet,
    with_adapters,
)
from common import CharLoss, digits, loaders, mnist1d, stdlib_code, task, topics_text, windows
from torch import nn

STEPS = 400
LOWEST = {
    "words_lstm_sgd": -1,
    "digits_resnet_sgd": -3,
    "mnist1d_mixer_lion": -6,
    "gpt2_muon": -4,
    "gpt_lora_adamw": -4,
}


def decayed(model, lr, betas, weight_decay=0.1):
    """AdamW with weight decay on matrices only, as GPTs are trained."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr, betas=betas)


def text_task(model, codes, optimizer, seed, batch_size, length=64, limit=120_000):
    return task(model, windows(codes, length, limit), optimizer, CharLoss(), batch_size, seed, val_limit=128)


def gpt2_layers_adamw(seed=0, batch_size=8):
    """Two layers, tied, N(0, 0.02), betas 0.9 and 0.95, on the bytes of Python's manual."""
    torch.manual_seed(seed)
    model = GPT()
    return text_task(model, topics_text(), decayed(model, 1e-3, (0.9, 0.95)), seed, batch_size)


def gpt4_own_init_adamw(seed=0, batch_size=8):
    """Four layers with torch's own initialisation, untied, betas 0.9 and 0.99, on Python's source code."""
    torch.manual_seed(seed)
    model = GPT(depth=4, width=48, length=48, tied=False, own_init=False)
    return text_task(model, stdlib_code(), decayed(model, 1e-3, (0.9, 0.99)), seed, batch_size, 48)


@functools.cache
def pieces_by_kind(length=48):
    """Pieces of text, and what each is: English prose, Python code, HTML, or a table of characters."""
    library = Path(functools.__file__).parent
    files = [
        [library / "pydoc_data" / "topics.py"],
        [library / f"{name}.py" for name in ("argparse", "ast", "doctest", "inspect", "tarfile")],
        [library / "idlelib" / "help.html"],
        sorted((library / "encodings").glob("cp4*.py")) + sorted((library / "encodings").glob("cp8*.py")),
    ]
    pieces, labels = [], []
    for label, paths in enumerate(files):
        raw = b"".join(path.read_bytes() for path in paths)[:60_000]
        codes = torch.frombuffer(bytearray(raw), dtype=torch.uint8).long().clamp_(0, 127)
        rows = codes[: len(codes) // length * length].view(-1, length)
        pieces.append(rows)
        labels += [label] * len(rows)
    return torch.cat(pieces), torch.tensor(labels)


def bert_kinds_adamw(seed=0, batch_size=16):
    torch.manual_seed(seed)
    model = Encoder(4, per_token=False, width=48, length=48)
    optimizer = decayed(model, 5e-5, (0.9, 0.999), 0.01)
    return task(model, pieces_by_kind(), optimizer, nn.CrossEntropyLoss(), batch_size, seed, val_limit=512)


def digits_vit_layer_decay_adamw(seed=0, batch_size=32):
    """Every layer's rate is 0.75 of the one above it, as when ViTs are fine-tuned."""
    torch.manual_seed(seed)
    model = ViT()
    parts = [[model.head, model.norm], *([block] for block in reversed(model.blocks)), [model.patches]]
    groups = [
        {"params": [p for module in part for p in module.parameters()], "lr": 1e-3 * 0.75**i}
        for i, part in enumerate(parts)
    ]
    groups[-1]["params"] += [model.first, model.position]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.05)
    return task(model, digits(), optimizer, nn.CrossEntropyLoss(), batch_size, seed)


@functools.cache
def manual_words(vocab=1000):
    """The words of Python's manual by how often they occur; the rarest share the last code."""
    from pydoc_data.topics import topics

    words = re.findall(r"\w+|[^\w\s]", "\n".join(topics[k] for k in sorted(topics)))[:60_000]
    counts = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    known = {word: i for i, word in enumerate(sorted(counts, key=lambda w: (-counts[w], w))[: vocab - 1])}
    return torch.tensor([known.get(word, vocab - 1) for word in words])


def words_lstm_sgd(seed=0, batch_size=12):
    """Plain SGD at a large rate, its gradients clipped to 0.25, as pytorch's word_language_model."""
    torch.manual_seed(seed)
    model = WordLSTM(1000, width=64)
    optimizer = torch.optim.SGD(model.parameters(), lr=20.0)
    return task(model, windows(manual_words(), 32), optimizer, CharLoss(), batch_size, seed, val_limit=128)


words_lstm_sgd.settings = {"clip_norm": 0.25}


def digits_resnet_sgd(seed=0, batch_size=32):
    torch.manual_seed(seed)
    model = resnet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    return task(model, digits(), optimizer, nn.CrossEntropyLoss(), batch_size, seed)


def mnist1d_mixer_lion(seed=0, batch_size=48):
    torch.manual_seed(seed)
    model = mixer()
    optimizer = Lion(model.parameters(), lr=1e-4, weight_decay=0.1)
    return task(model, mnist1d(), optimizer, nn.CrossEntropyLoss(), batch_size, seed)


def gpt2_muon(seed=0, batch_size=8):
    """Muon for the matrices inside, Adam for embeddings and norms."""
    torch.manual_seed(seed)
    model = GPT(width=48)
    inside = [p for p in model.blocks.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if all(p is not q for q in inside)]
    return text_task(model, topics_text(), MuonWithAdam(inside, others), seed, batch_size)


@functools.cache
def trained_gpt(depth=2, steps=1500):
    """A GPT trained at length on Python's manual."""
    torch.manual_seed(79)
    model = GPT(depth=depth)
    optimizer = decayed(model, 3e-3, (0.9, 0.95))
    source, _ = loaders(*windows(topics_text(), 64, 400_000), 8, 79)
    done = 0
    while done < steps:
        for inputs, target in source:
            optimizer.zero_grad()
            CharLoss()(model(inputs), target).backward()
            for group in optimizer.param_groups:
                group["lr"] = 3e-3 * min(1.0, (done + 1) / 75, 4 * (1 - done / steps))
            optimizer.step()
            done += 1
            if done == steps:
                break
    return model


def gpt_lora_adamw(seed=0, batch_size=8):
    """Adapters on a frozen GPT that knows English go on with Python."""
    model = copy.deepcopy(trained_gpt())
    torch.manual_seed(seed)
    model = with_adapters(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    return text_task(model, stdlib_code(), optimizer, seed, batch_size)


TASKS = [
    gpt2_layers_adamw,
    gpt4_own_init_adamw,
    bert_kinds_adamw,
    digits_vit_layer_decay_adamw,
    words_lstm_sgd,
    digits_resnet_sgd,
    mnist1d_mixer_lion,
    gpt2_muon,
    gpt_lora_adamw,
]
