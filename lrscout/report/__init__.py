"""Results as text: plots, tables, files, and the one sink that prints."""
