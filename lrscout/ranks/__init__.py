"""A target as a training program of several ranks: `torchrun --nproc-per-node 2 -m lrscout.ranks mymod:build`."""
