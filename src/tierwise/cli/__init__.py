"""The command line: one file a command. Parse, call the library, render."""
