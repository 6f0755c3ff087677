"""`inv soak`: the real system on the built-in gateway, with faults put into it, judged by its own report.

`schedule` picks the faults (pure), `faults` injects them and waits for what must follow, `trial` is the run, `judging`
adds its criteria. `instance` is a system of real processes in a folder of its own and `channel` receives its alerts:
the test suite's systems and the fault campaign (`tests/campaign`) are built on these two.
"""
