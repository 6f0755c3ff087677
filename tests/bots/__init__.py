"""Other people's bots, as their registries have them, on the built-in gateway.

`.ci/bots NAME...` (`python -m tests.bots`) does what `docs/how-to/run-a-bot-from-pypi.md` tells its reader to do, line
by line: it installs the bot in a folder of its own, lets this program start it on a trading plan and on Strategy C,
watches it under a supervisor, and stops it. The page is the only place in which a recipe stands.
"""
