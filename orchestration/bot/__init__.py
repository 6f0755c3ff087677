"""The bot: launch it, find it, stop it, and hear what it says.

- `launch`: what it is given, how it is started and when it counts as up.
- `find`: does this instance's bot run, which process is it, and what is known of it?
- `state`: what is known of it at one moment, pure; `watch` keeps that up to date.
- `command_line`: when two command lines start the same program.
- `stop`: end it gracefully, in bounded time.
- `record`: what is written down about it, so that the next run finds it.
- `notify`: the other end of the `NOTIFY_SOCKET` that it is given.
- `reference`: a bot that keeps every rule here and never trades.

Nothing is imported here: the reference bot is in this package too, and its start must not pay for the rest.
"""
