"""Everything that touches torch: the user's target, its workload, and the steps taken with it."""
