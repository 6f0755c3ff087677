"""Zero-touch start-up of an IBKR trading system.

The rooms, from the bottom up; arrows point one way only:

* `errors`, `settings`, `system`, `redaction`, `evidence`, `logs`, `docker`: the stable words, the configuration, the
  doors to the world;
* `tws`: the wire protocol of the gateway's API, for both ends, pure;
* `gateway`, `gameplan`, `bot`, `alerts`, `journal`, `simulator`: the domain rooms; none knows another's insides;
* `supervision`: what a supervisor decides, pure;
* `uptime`: how well it ran, judged from the journal, pure; `soak`: a trial with faults, which is judged by it;
* `preflight`, `precedence`, `steps`, `run`, `startup`, `shutdown`, `status`, `lookout`, `supervisor`: what is done
  with them;
* `hostservice`: the boot service, on systemd and on Windows;
* `deploy`: releases on a host over SSH; `fabfile.py`, outside, is its command line;
* `serve`, `cli`, `views`, `console`: what a person or a program meets; `tasks.py`, outside: the command line.
"""

__version__ = "0.1.0"
