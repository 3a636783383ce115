"""What the server that workers are forked from imports beforehand; nothing else imports this module."""

from __future__ import annotations

import torch._dynamo  # noqa: F401  every optimizer imports it when it is made, which takes three seconds

import lrscout.engine.fingerprint
import lrscout.engine.schedulers
import lrscout.engine.training
import lrscout.engine.trials.bench  # noqa: F401
