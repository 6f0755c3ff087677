"""Zero-touch start-up of an IBKR trading system.

The rooms, from the bottom up; imports point downwards only (`tests/unit/test_walls.py`). The page
`docs/explanation/architecture.md` draws them and says how a run passes through them.

* `errors`, `system`, `redaction`, `state_dir`, `settings`, `logs`, `docker`: stable words, the doors to the world,
  secrets kept out of text, the small files of STATE_DIR, the configuration, Docker's command line;
* `tws`: the wire protocol of the gateway's API, for both ends, pure;
* `gateway`, `gameplan`, `bot`, `alerts`, `journal`, `simulator`: the domain rooms; none imports another one (but the
  reference bot may);
* `prerequisites`: one call for bot authors; `reports`: how well it ran, judged from the journal, pure;
* `admission`, `hold`: whether a command may run now; `preflight`: the table of checks;
* `startup`: the five steps, the run that performs them, its report; `shutdown`: stopping bot and gateway;
* `supervision`: what a supervisor observes, decides (pure) and does, and the boot service's side of it;
* `hostservice`: the boot service's unit or scheduled task; `deploy`: releases on a host over SSH;
* `soak`: a trial run with injected faults;
* `commands`: one function for each task of `tasks.py`, with its output; `tasks.py` and `fabfile.py`, outside the
  package, are the command lines.
"""

__version__ = "0.1.0"
