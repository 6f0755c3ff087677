"""The table of mutants is up to date: each is one replacement of text in the program."""

import pytest

from tests.years.mutants import MUTANTS, PROJECT, Mutant

pytestmark = pytest.mark.years


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_mutant_changes_one_place(mutant: Mutant) -> None:
    text = (PROJECT / mutant.path).read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1
    compile(text.replace(mutant.old, mutant.new), mutant.path, "exec")
