"""How many examples, or seeds, a generated test tries: some with the README's command, all of them in CI."""

import hypothesis

PROFILE = "thorough"


def choose_count(*, usual: int, thorough: int) -> int:
    """The one that fits this run: `thorough` with `--hypothesis-profile=thorough`."""
    return thorough if hypothesis.settings.get_current_profile_name() == PROFILE else usual
