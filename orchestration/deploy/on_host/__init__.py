"""What runs on the host: sent there with each call, as root, with the standard library alone.

Nothing here may import anything of the project but what `SOURCES` names, in the order in which it loads: these modules,
and those of the project that need nothing but the standard library. The host may have no release yet, a release's files
are not root's, and a bad one must not be what goes back to a good one (docs/adr/0018).
"""

_NEIGHBOURS = (
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
SOURCES = ("orchestration.system.files", *(f"{__name__}.{name}" for name in _NEIGHBOURS))
