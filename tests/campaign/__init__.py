"""The fault campaign: hundreds of seeded runs into which faults are injected, each judged by what an observer sees.

`python -m tests.campaign --runs 500 --seed 1`. A run's number and the seed decide everything about it that chance
decides (`draw`): what is there at the start, how the system is started, what goes wrong, and when. A run happens in a
world of its own (`world`), is conducted (`conduct`) with its fault (`faults`) and then once more without it, and is
judged by an observer (`observer`) that never asks the program: it reads the ledger that the bots themselves write, the
gateway's log, the process table, the database file, and what arrived at the channel.
"""
