"""Trials of a batch size: building its workload, running steps, and measuring their memory and speed."""
