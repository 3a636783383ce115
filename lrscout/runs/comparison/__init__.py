"""A whole run of compare-schedulers: the rates, the runs, the record."""
