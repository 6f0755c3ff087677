"""`docs/how-to/connect-your-bot.md` followed to the letter: a bot made of its pieces, and the commands of its trial."""

import json
import re

from tests.system import PROJECT, System

_PAGE = (PROJECT / "docs/how-to/connect-your-bot.md").read_text(encoding="utf-8")
_BLOCKS = re.findall(r"^```python\n(.*?)^```", _PAGE, re.MULTILINE | re.DOTALL)
_ARGUMENTS, _MOMENT, _READY, _STOP = _BLOCKS
_TRIAL = re.search(r"^## 7\. Try it\n\n((?: {4}.+\n)+)", _PAGE, re.MULTILINE)
# What the page leaves to its reader: names, and the bot's own work.
_BOT = f"""
import argparse, signal, sys, threading
sys.path.append({str(PROJECT)!r})
stop = threading.Event()
parser = argparse.ArgumentParser()
parser.add_argument("--gateway-port", type=int)
{_ARGUMENTS}
{_STOP}
def trade(plan, host, port):
    print("STRATEGY", plan["strategy"], port == options.gateway_port, flush=True)
    exec(compile({_READY!r}, "step 4", "exec"), globals())
    stop.wait()
{_MOMENT}
main()
print("STOPPED", flush=True)
"""


def test_a_bot_made_of_the_pages_pieces_comes_up_in_its_trial_and_stops_gracefully(system: System) -> None:
    system.use_small_bot(code=_BOT)
    system.environ["BOT_START_GRACE"] = "60"  # it is up by its own word, or not at all
    assert _TRIAL is not None
    commands = [line.split("#")[0].split() for line in _TRIAL[1].splitlines()]
    assert [words[:2] for words in commands] == [
        ["inv", "startup"],
        ["inv", "status"],
        ["inv", "logs"],
        ["inv", "shutdown"],
    ]
    startup = system.inv(*commands[0][1:])
    assert startup.code == 0, startup.err
    assert json.loads((system.state / "bot.json").read_text(encoding="utf-8"))["ready_by"] == "notify"
    status, logs, shutdown = (system.inv(*words[1:]) for words in commands[1:])
    assert (status.code, logs.code, shutdown.code) == (0, 0, 0), status.out
    assert "STRATEGY A True" in logs.out
    (log,) = system.logs.glob("bot_*.log")
    assert log.read_text(encoding="utf-8").endswith("STOPPED\n")  # asked to stop, it ended by itself
