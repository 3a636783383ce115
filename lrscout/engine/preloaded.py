"""What the server that workers are forked from imports beforehand; nothing else imports this module."""

from __future__ import annotations

import atexit
import os

import torch._dynamo  # noqa: F401  # which every optimizer of torch's imports when it is made

import lrscout.engine.environment
import lrscout.engine.fingerprint
import lrscout.engine.schedulers
import lrscout.engine.training  # noqa: F401

atexit.register(os._exit, 0)  # the server keeps the streams open: taking torch apart would hold up who reads them
