"""The search algorithms: plain numbers in, plain numbers out, with no torch and no I/O."""
