"""Zero-touch start-up of an IBKR trading system.

The rooms, from the bottom up; arrows point one way only:

* `errors`, `settings`, `system`, `redaction`, `logs`: the stable words, the configuration, the doors to the world, what
  keeps secrets out of everything written, and a log for each run;
* `gateway`, `gameplan`, `bot`, `alerts`, `journal`, `simulator`: the domain rooms; none knows another's insides;
* `preflight`, `startup`, `status`, `shutdown`: what is done with them, in order;
* `console`: what a person or a program sees; `tasks.py` (outside the package): the command line.
"""

__version__ = "0.1.0"
