"""The recipes for other people's bots, which `.ci/bots` follows to the letter."""

import ast
import re
import tomllib

import pytest

from orchestration.settings import Settings
from tests.bots.recipe import Recipe, read_connecting, read_recipes
from tests.system import PROJECT

_RECIPES = read_recipes()


def test_the_page_has_a_recipe_for_each_of_the_four() -> None:
    assert list(_RECIPES) == ["ib_async", "thetagang", "lumibot", "nautilus_trader"]


@pytest.mark.parametrize("recipe", _RECIPES.values(), ids=list(_RECIPES))
def test_a_recipe_is_whole_and_short(recipe: Recipe) -> None:
    assert len(recipe.commands) <= 3
    assert len(recipe.settings.splitlines()) <= 3
    (own,) = recipe.files.values()
    assert own.count("GATEWAY_HOST") == own.count("GATEWAY_PORT") == 1, "no address is written into the bot"
    assert not re.search(r"400[12]|749[67]|127\.0\.0\.1", own)
    for name, text in recipe.files.items():
        if name.endswith(".py"):
            ast.parse(text)
        else:
            tomllib.loads(text)


@pytest.mark.parametrize("recipe", _RECIPES.values(), ids=list(_RECIPES))
def test_the_settings_of_a_recipe_are_valid_and_name_its_own_program(recipe: Recipe) -> None:
    environ = dict(line.split("=", 1) for line in recipe.settings.splitlines())
    settings = Settings.from_environ(environ, project_dir=PROJECT)
    assert settings.bot_workdir.name == recipe.name
    assert f"/bots/{recipe.name}/.venv/bin/" in settings.bot_command[0]
    assert recipe.program in {word.rpartition("/")[2] for word in settings.bot_command}


@pytest.mark.parametrize("name", list(_RECIPES))
def test_every_version_is_pinned_and_no_line_says_where_files_come_from(name: str) -> None:
    lines = (PROJECT / ".ci/constraints" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    assert any(line.lower().replace("-", "_").startswith(f"{name}==") for line in lines)


def test_the_lines_that_connect_a_script_are_found_in_the_how_to() -> None:
    connecting = read_connecting()
    assert connecting.install == "/srv/trader/.venv/bin/pip install ."
    assert connecting.check == "from orchestration.prerequisites import check_or_exit\n\ngiven = check_or_exit()\n"
    compile(connecting.ready, "ready", "exec")
