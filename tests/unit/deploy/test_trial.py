"""What a release's trial tells apart, as far as text alone tells."""

import pytest

from orchestration.deploy.on_host.bot_trial import is_broken

_CODE = 'Traceback (most recent call last):\n  File "/srv/bot.py", line 3, in <module>\n    import ib_insync\n'


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (1, f"{_CODE}ModuleNotFoundError: No module named 'ib_insync'\n"),
        (1, f"{_CODE}ImportError: cannot import name 'IB'\n(a second line)\n"),
        (1, f"starting\n{_CODE}NameError: name 'x' is not defined. Did you mean: 'y'?\nbye\n"),
        (1, '  File "/srv/bot.py", line 1\n    def main(:\n             ^\nSyntaxError: invalid syntax\n'),
        (1, '  File "/srv/bot.py", line 1\n    x\n  ^^\nIndentationError: unexpected indent\n'),
        (1, "/opt/zero-touch/current/.venv/bin/python3.12: No module named bot\n"),
        (1, "/usr/bin/python: Error while finding module specification for 'a.b' (ModuleNotFoundError: 'a')\n"),
        (2, "python3: can't open file '/srv/bot.py': [Errno 2] No such file or directory\n"),
        (127, "/srv/bot.py: No such file or directory\n"),
        (126, ""),
    ],
)
def test_what_no_sandbox_causes_is_the_programs_own_fault(code: int, said: str) -> None:
    assert is_broken(code, said)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, f"usage: bot [-h]\n{_CODE}ImportError: tolerated, and written down\n"),
        (1, f"{_CODE}ConnectionRefusedError: [Errno 111] Connection refused\n"),
        (1, f"{_CODE}OSError: [Errno 30] Read-only file system: 'bot.log'\n"),
        (1, f"{_CODE}ModuleNotFoundError: No module named 'uvloop'\n{_CODE}TimeoutError\n"),
        (1, "can't open file '/var/log/bot.log': read-only\n"),
        (1, ""),
        (2, "usage: bot [-h] --account ACCOUNT\nbot: error: unrecognized arguments: --help\n"),
        (3, f"{_CODE}ImportError: handled\n"),
        (124, f"waiting for the gateway\n{_CODE}ImportError: written down\n"),
        (125, "the bot's program is only started without a network\n"),
        (-9, ""),
    ],
)
def test_what_the_sandbox_may_cause_is_not(code: int, said: str) -> None:
    assert not is_broken(code, said)
