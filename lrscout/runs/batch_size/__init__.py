"""A whole run of find-batch-size: the look at the target, the trials, the record."""
