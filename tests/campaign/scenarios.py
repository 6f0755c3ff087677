"""Every named scenario, run on a real engine, and the table of what came of it."""


def run(*, commit: str, machine: str, publishes: bool) -> int:
    """Run them."""
    del commit, machine, publishes
    return 1
