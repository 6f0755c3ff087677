"""The commands' output and exit codes: one module per group of commands."""
