"""`python -m lrscout`: the same as `lrscout`, as torchrun needs it."""

from lrscout.cli import entry

if __name__ == "__main__":
    entry()
