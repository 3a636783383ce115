"""A whole run of find-lr: the sweeps, the short trainings, the record."""
