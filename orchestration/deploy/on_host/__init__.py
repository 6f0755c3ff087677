"""What runs on the host: sent there with each call, as root, with the standard library alone.

Nothing here may import anything of the project but its neighbours in this folder: the host may have no release yet, and
a bad release must not be what goes back to a good one. `SOURCES` names the modules in the order in which they load.
"""

SOURCES = (
    "base",
    "release_settings",
    "service",
    "room",
    "operator_lock",
    "look",
    "prepare",
    "bot_trial",
    "candidate",
    "boot_guard",
    "activation",
    "activate",
    "provision",
    "main",
)
