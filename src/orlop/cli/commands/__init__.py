"""One module a command: its options, its help with examples and exit status, the calls. Nothing is imported here."""
