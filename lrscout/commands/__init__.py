"""One file a command: load, run, suggest, save, show."""
