"""`python -m tests.hosts.keepalived`: the same scene with a plain keepalived script, for comparison.

Two hosts, VRRP between them, a script that starts the bot on the new master and kills it on what became a backup. Needs
keepalived beside what the campaign needs.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.hosts.hosts import BOT
from tests.hosts.network import Cut, Space, network
from tests.hosts.observer import Observer, measure_overlap_s, now_s
from tests.system import wait_until

_SETTLED_S = 5.0
_CONFIGURATION = """
global_defs {{
    script_user root
    enable_script_security
}}
vrrp_instance bot {{
    state BACKUP
    interface eth0
    virtual_router_id 51
    priority {priority}
    advert_int 1
    unicast_peer {{
        {peer}
    }}
    notify_master "{root}/start"
    notify_backup "{root}/stop"
    notify_fault "{root}/stop"
}}
"""


def main() -> int:
    """Cut the master off, several times, and say for how long both ran."""
    parser = argparse.ArgumentParser(prog="python -m tests.hosts.keepalived", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--for", type=float, default=20.0, dest="for_s", help="seconds (default: %(default)s)")
    given = parser.parse_args()
    for number in range(given.runs):
        with tempfile.TemporaryDirectory(dir="/root") as folder, network(60 + number, 2) as (_, spaces):
            away_s, overlap_s = cut_master_off(Path(folder), spaces, given.for_s)
        sys.stdout.write(f"second bot after {away_s:.1f} s, both for {overlap_s:.1f} s of {given.for_s:g} s\n")
    return 0


def cut_master_off(root: Path, spaces: list[Space], for_s: float) -> tuple[float, float]:
    """Start both, cut the master off for so long. Returns when the second bot began, and for how long both ran."""
    roots = [root / "host0", root / "host1"]
    observer = Observer(roots)
    with contextlib.ExitStack() as ending:
        for index, space in enumerate(spaces):
            start(roots[index], space, peer=spaces[1 - index].address, priority=100 - 10 * index, ending=ending)
        observer.start()
        ending.callback(observer.stop)
        wait_until(observer.find_hosts, "bot on any host")
        time.sleep(_SETTLED_S)
        (master,) = observer.find_hosts()
        cut_s = now_s()
        spaces[master].cut(Cut.BOTH)
        time.sleep(for_s)
        spaces[master].heal()
        time.sleep(_SETTLED_S)
        others = [one.begin_s for one in observer.lives if one.host != master and one.begin_s > cut_s]
        return min(others) - cut_s, measure_overlap_s(observer.lives, now_s())


def start(root: Path, space: Space, *, peer: str, priority: int, ending: contextlib.ExitStack) -> None:
    """Start keepalived on one host."""
    root.mkdir()
    bot = f"{sys.executable} -S {BOT} worker"  # without a worker of its own, which this script would not find
    scripts = {
        "start": f"exec >/dev/null 2>&1\nBOT_RECORD={root}/bot.json setsid {bot} & echo $! >{root}/pid",
        "stop": f"kill -9 $(cat {root}/pid)",
    }
    for name, text in scripts.items():
        (root / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (root / name).chmod(0o700)
    configuration = root / "keepalived.conf"
    configuration.write_text(_CONFIGURATION.format(root=root, peer=peer, priority=priority), encoding="utf-8")
    argv = [*space.inside, "keepalived", "-n", "-P", "-f", str(configuration)]
    files = ["-p", str(root / "keepalived.pid"), "-r", str(root / "vrrp.pid"), "-l"]
    with (root / "log").open("ab") as log:
        process = subprocess.Popen([*argv, *files], stdout=log, stderr=log, env={"PATH": os.environ["PATH"]})
    ending.callback(process.wait)
    ending.callback(process.terminate)


if __name__ == "__main__":
    sys.exit(main())
