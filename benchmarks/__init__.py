"""How fast the start-up is and what it costs, against the classic way, in one run: `python -m benchmarks`.

`README.md` beside this file says what is measured and how, and holds the figures of the last run.
"""
