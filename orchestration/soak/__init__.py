"""`inv soak`: the real system on the built-in gateway, with faults put into it, judged by its own report.

`catalogue` says what each fault is, how it is injected and what must follow. `schedule` picks the faults of a run
(pure), `faults` injects them and waits for what must follow, `trial` is the run, `judging` adds its criteria.
`instance` is a system of real processes in a folder of its own and `channel` receives its alerts. The fault campaign
(`tests/campaign`) draws from the same catalogue, and it and the test suite's systems are built on instance and channel.
"""
