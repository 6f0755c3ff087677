"""What a supervisor shows."""

import io

import pytest

from orchestration.commands.watch_display import LiveWatch
from orchestration.settings import Settings
from tests.unit.supervision.scene import WELL, Watch


@pytest.mark.parametrize(("owns_bot", "said"), [(True, "stops the bot"), (False, "the bot stays")])
def test_the_live_view_says_what_ctrl_c_does_to_the_bot(*, owns_bot: bool, said: str) -> None:
    stream = io.StringIO()
    view = LiveWatch(stream, Settings.from_environ({}), owns_bot=owns_bot)
    view.look(WELL, Watch().look())
    view.close()
    assert said in stream.getvalue()
    assert "DU1234567" not in stream.getvalue(), "accounts are masked"
