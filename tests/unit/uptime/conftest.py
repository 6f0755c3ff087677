"""Two days of a journal, written once."""

from pathlib import Path

import pytest

from tests.report_scene import tell_story


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tell_story(tmp_path_factory.mktemp("story"))
