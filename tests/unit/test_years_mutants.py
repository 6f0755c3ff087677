"""The table of mutants is up to date: each is one replacement of text in the program.

Here and not with the years' own tests, for a change of the program makes the table stale.
"""

from tests.years.mutants import MUTANTS, PROJECT


def test_each_mutant_changes_one_place_of_the_program() -> None:
    breaches = []
    for one in MUTANTS:
        text = (PROJECT / one.path).read_text(encoding="utf-8")
        count = text.count(one.old)
        if count != 1:
            breaches.append(f"{one.name}: its text stands {count} times in {one.path}")
        else:
            compile(text.replace(one.old, one.new), one.path, "exec")
    assert breaches == []
    assert len({one.name for one in MUTANTS}) == len(MUTANTS)
