"""The trials of a batch size: where the batches come from, the steps, their memory and their speed."""
