"""The summary of `.ci/run`: what did not run has not passed."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

_SOURCE = Path(__file__).resolve().parents[2] / ".ci" / "summary.py"
_PASSED = '<testcase classname="tests.a" name="test_one" time="1.5"/>'
_SLOW = '<testcase classname="tests.a" name="test_slow" time="41.25"/>'
_FAILED = '<testcase classname="tests.a" name="test_two" time="0.1"><failure message="no"/></testcase>'
_BROKEN = '<testcase classname="tests.a" name="test_three" time="0.1"><error message="no"/></testcase>'
_LEFT_OUT = '<testcase classname="tests.a" name="test_four" time="0"><skipped message="{}"/></testcase>'


@pytest.fixture(scope="module")
def summary() -> Any:  # noqa: ANN401 - a module, which is in no package
    spec = importlib.util.spec_from_file_location("ci_summary", _SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ci_summary"] = module
    spec.loader.exec_module(module)
    return module


def _write(folder: Path, name: str, *cases: str, code: int = 0) -> None:
    (folder / f"{name}.code").write_text(f"{code}\n")
    (folder / f"{name}.time").write_text("61.5 30.25 4.125\n")
    if cases:
        text = f'<testsuites><testsuite name="pytest">{"".join(cases)}</testsuite></testsuites>'
        (folder / f"{name}.xml").write_text(text)


def test_all_is_well_where_every_stage_has_passed(summary: Any, tmp_path: Path) -> None:  # noqa: ANN401
    _write(tmp_path, "lint")
    _write(tmp_path, "tests", _PASSED, _SLOW, _LEFT_OUT.format("the superuser may write everywhere"))
    lines, is_well = summary.summarize(tmp_path, {"lint": False, "tests": True})
    assert is_well
    assert lines[2] == "      62       30        4       2  tests"
    assert lines[-2:] == ["     1.5 s  tests.a::test_one", "     0.0 s  tests.a::test_four"]


@pytest.mark.parametrize(
    ("cases", "code", "problem"),
    [
        ((_PASSED, _FAILED), 1, "exit code 1; 1 failed"),
        ((_PASSED, _BROKEN), 1, "exit code 1; 1 failed"),
        ((_PASSED, _FAILED), 0, "1 failed"),
        ((), 5, "exit code 5; no report of its tests"),
        ((_LEFT_OUT.format("there is no docker program"),), 0, "no test passed; left out: there is no docker program"),
        ((_PASSED, _LEFT_OUT.format("no wine")), 0, "left out: no wine"),
        ((_PASSED,), 124, "exit code 124"),
    ],
)
def test_what_did_not_pass_is_said(
    summary: Any,  # noqa: ANN401
    tmp_path: Path,
    cases: tuple[str, ...],
    code: int,
    problem: str,
) -> None:
    _write(tmp_path, "tests", *cases, code=code)
    lines, is_well = summary.summarize(tmp_path, {"tests": True})
    assert not is_well
    assert lines[1].endswith(f"  tests: {problem}")


def test_a_stage_that_did_not_run_has_not_passed(summary: Any, tmp_path: Path) -> None:  # noqa: ANN401
    _write(tmp_path, "lint")
    lines, is_well = summary.summarize(tmp_path, {"lint": False, "tests": True})
    assert not is_well
    assert lines[2].endswith("tests: did not run")


def test_twenty_slowest_tests_are_shown(summary: Any, tmp_path: Path) -> None:  # noqa: ANN401
    cases = [f'<testcase classname="t" name="test_{number}" time="{number}"/>' for number in range(30)]
    _write(tmp_path, "tests", *cases)
    lines, _ = summary.summarize(tmp_path, {"tests": True})
    assert lines[-20:] == [f"{number:8.1f} s  t::test_{number}" for number in range(29, 9, -1)]


def test_a_test_that_passes_when_it_runs_again_is_named_and_its_stage_has_passed(summary: Any, tmp_path: Path) -> None:  # noqa: ANN401
    _write(tmp_path, "tests", _PASSED, _FAILED, code=1)
    assert summary.main(["--is-repeatable", str(tmp_path), "tests"]) == 0
    _write(tmp_path, "tests.again", _FAILED.replace('<failure message="no"/>', ""))
    lines, is_well = summary.summarize(tmp_path, {"tests": True})
    assert is_well
    assert lines[1].endswith("       1  tests")
    assert lines[3:5] == ["Failed, and passed when it ran again by itself:", "tests.a::test_two"]


@pytest.mark.parametrize(
    ("cases", "code"),
    [
        ((_FAILED,), 1),
        ((_PASSED,), 0),
        ((_FAILED.replace('<failure message="no"/>', '<skipped message="why"/>'),), 0),
        ((_FAILED.replace('<failure message="no"/>', ""),), 124),
        ((), 0),
    ],
    ids=["failed again", "another test", "left out", "not to its end", "no report"],
)
def test_a_test_that_did_not_pass_when_it_ran_again_has_failed(
    summary: Any,  # noqa: ANN401
    tmp_path: Path,
    cases: tuple[str, ...],
    code: int,
) -> None:
    _write(tmp_path, "tests", _PASSED, _FAILED, code=1)
    _write(tmp_path, "tests.again", *cases, code=code)
    lines, is_well = summary.summarize(tmp_path, {"tests": True})
    assert not is_well
    assert lines[1].endswith("  tests: exit code 1; 1 failed")


@pytest.mark.parametrize(
    ("cases", "code"),
    [((_PASSED,), 0), ((_PASSED, _FAILED), 124), ((_FAILED, _FAILED, _BROKEN, _FAILED), 1), ((_PASSED,), 2)],
    ids=["nothing failed", "timed out", "too many", "not run"],
)
def test_tests_run_again_only_where_a_few_of_them_failed(
    summary: Any,  # noqa: ANN401
    tmp_path: Path,
    cases: tuple[str, ...],
    code: int,
) -> None:
    _write(tmp_path, "tests", *cases, code=code)
    assert summary.main(["--is-repeatable", str(tmp_path), "tests"]) == 1
