"""Modules for the fork server to import in advance, so that workers find them loaded; nothing else imports this."""

from __future__ import annotations

import torch._dynamo  # noqa: F401  imported on creating the first optimizer, which takes three seconds

import lrscout.engine.fingerprint
import lrscout.engine.schedulers
import lrscout.engine.training
import lrscout.engine.trials.bench  # noqa: F401
