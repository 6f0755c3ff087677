"""Zero-touch start-up of an IBKR trading system.

The rooms, from the bottom up; arrows point one way only:

* `errors`, `settings`, `system`, `redaction`, `logs`, `docker`: the stable words, the configuration, the doors to the
  world;
* `tws`: the wire protocol of the gateway's API, for both ends, pure;
* `gateway`, `gameplan`, `bot`, `alerts`, `journal`, `simulator`: the domain rooms; none knows another's insides;
* `reports`: how well it ran, judged from the journal, pure;
* `preflight`: the table of checks; `admission` and `hold`: may this run begin now;
* `startup`: the five steps, the run that performs them, its report; `shutdown`: the way back;
* `supervision`: what a supervisor observes, decides (pure) and does, and the boot service's side of it;
* `hostservice`: the boot service's unit or scheduled task; `deploy`: releases on a host over SSH;
* `commands`: what a person or a program meets; `tasks.py` and `fabfile.py`, outside, are the command lines;
* `soak`: a trial with faults; `prerequisites`: one call for bot authors.
"""

__version__ = "0.1.0"
