"""A real training, to its end."""
