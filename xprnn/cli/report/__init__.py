"""Reports of commands: one HTML page each, for readers of results and not of code."""
