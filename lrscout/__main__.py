"""`python -m lrscout`, as torchrun needs it, and the console script."""

import signal

# while there is nothing to clean up, Ctrl-C ends the process without a traceback
_before = signal.getsignal(signal.SIGINT)
if _before is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from lrscout.cli import entry  # noqa: E402

signal.signal(signal.SIGINT, _before)

if __name__ == "__main__":
    entry()
