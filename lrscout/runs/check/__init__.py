"""check: whether a target is sound."""
