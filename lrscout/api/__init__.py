"""The Python API: one file a command. Importing it is cheap: torch comes with the first call."""
