"""The whole program in a simulated world on virtual time: `python -m tests.years`."""
