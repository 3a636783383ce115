"""Results as text: tables, plots and files, and the output streams."""
