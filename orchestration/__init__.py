"""Zero-touch start-up of an IBKR trading system.

The rooms, from the bottom up; a room imports from lower floors only (`tests/unit/test_walls.py` has the ten floors).
The page `docs/explanation/architecture.md` draws them and says how a run passes through them.

* `errors`, `system`, `redaction`, `state_dir`, `settings`, `logs`, `docker`: stable words, the doors to the world,
  secrets kept out of text, the small files of STATE_DIR, the configuration, Docker's command line;
* `tws`: the wire protocol of the gateway's API, for both ends, pure;
* `gateway`, `gameplan`, `bot`, `alerts`, `journal`, `simulator`: the domain rooms; none imports another one (but the
  reference bot may);
* `lease`: which of several hosts may run the bot;
* `reports`: how well it ran, judged from the journal, pure; `hostservice`: the boot service's unit or scheduled task;
  `soak`: a trial run with injected faults; their catalogue, the safety criteria and the isolated instance serve the
  tests too;
* `prerequisites`: one call for bot authors; `hold`: whether the system is held down; `preflight`: the table of checks;
* `startup`: the five steps, the run that performs them, whether it may run now, its report;
* `shutdown`: stopping bot and gateway; `supervision`: what a supervisor observes, decides (pure) and does; `presenter`:
  what is written to a terminal;
* `commands`: one function for each task of `tasks.py`, with its output; `deploy`: releases on a host over SSH;
  `tasks.py` and `fabfile.py`, outside the package, are the command lines.
"""

__version__ = "0.1.0"
