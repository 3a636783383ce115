"""One whole run of each search, from the target to its record: what happens when."""
