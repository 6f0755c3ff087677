"""How fast the system is and what it costs, against the classic way where there is one: `python -m benchmarks`.

`README.md` beside this file says what is measured and how, and holds the figures of the last run.
"""
