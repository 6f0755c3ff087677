"""The host service: what the operating system starts when the machine boots.

`service.py` says what is to be installed and what every operating system's part must be able to do; `systemd.py` and
`task_scheduler.py` are those parts; `install.py` brings what is installed to what is wanted, and nothing more.
`attempts.py` counts its failed starts, `service_end.py` keeps how systemd ended it, `advice.py` names its commands.
"""
