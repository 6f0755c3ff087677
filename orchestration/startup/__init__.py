"""The start-up: its five steps, the run that performs them, and its report."""
