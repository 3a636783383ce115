"""The Trainer of transformers with a tiny GPT-2 that is made from its configuration."""

import os
import tempfile

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed


def main():
    set_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=16, n_embd=32, n_layer=2, n_head=2))
    tokens = torch.randint(0, 64, (16,))
    # the same text over and over, so that the losses of two sweeps can be compared
    data = [{"input_ids": tokens, "labels": tokens}] * 10_000
    args = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        ddp_backend="gloo" if "RANK" in os.environ else None,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        learning_rate=5e-4,
        weight_decay=0.01,
        warmup_steps=100,
        max_steps=1000,
        lr_scheduler_type="cosine",
        logging_steps=5,
        save_strategy="no",
        report_to="none",
    )
    Trainer(model=model, args=args, train_dataset=data).train()


if __name__ == "__main__":
    main()
