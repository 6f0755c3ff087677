"""`inv soak`: the real system on the built-in gateway, with faults put into it, judged by its own report.

`schedule` picks the faults (pure), `instance` is the system in a temporary place of its own, `channel` receives its
alerts, `faults` puts them in and waits for what must follow, `trial` is the run, `judging` adds its criteria.
"""
