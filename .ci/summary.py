"""What came of the stages of `.ci/run`: their times, the slowest tests, and whether all of it ran and passed.

For each stage its folder holds NAME.code and NAME.time (real, user and system seconds), and pytest's NAME.xml; where
failed tests ran a second time, NAME.again.code and NAME.again.xml. Ends with 0 only if every expected stage has passed,
ran a test where it has tests, and left none out without a reason that is known. Tests that passed only when they ran
again are named.
"""

import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

_SLOWEST = 20
# How many failed tests of a stage may run again. Where the machine stands still one or two fail; more mean a fault.
_REPEATABLE = 3
_TESTS_FAILED = "1"  # pytest's exit code; others mean that it could not run them
# Why a test may be left out though its stage is there for it: the reasons' texts, as pytest gives them.
_MAY_BE_LEFT_OUT = ("the superuser may write everywhere",)


@dataclass(frozen=True, kw_only=True)
class Tests:
    """What pytest said of a stage's tests.

    Attributes:
        passed: How many passed.
        failed: Which did not.
        left_out: Why others did not run, one text for each.
        times: Seconds and name of each one.
    """

    passed: int
    failed: list[str]
    left_out: list[str]
    times: list[tuple[float, str]]


def read_tests(report: Path) -> Tests:
    """Read a report in the JUnit format."""
    passed, failed, left_out, times = 0, [], [], []
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - written by pytest a moment ago
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        times.append((float(case.get("time", "0")), name))
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif skipped is not None:
            left_out.append(skipped.get("message", ""))
        else:
            passed += 1
    return Tests(passed=passed, failed=failed, left_out=left_out, times=times)


def is_repeatable(folder: Path, name: str) -> bool:
    """Whether the failed tests of a stage are few enough to run once more."""
    code, report = (folder / f"{name}.code").read_text(encoding="utf-8").strip(), folder / f"{name}.xml"
    return code == _TESTS_FAILED and report.is_file() and 0 < len(read_tests(report).failed) <= _REPEATABLE


def find_passed_again(folder: Path, name: str) -> list[str]:
    """The failed tests of a stage that ran again, if each of them has passed then; otherwise nothing."""
    code_file, report = folder / f"{name}.again.code", folder / f"{name}.again.xml"
    if not (code_file.is_file() and report.is_file() and is_repeatable(folder, name)):
        return []
    failed, again = read_tests(folder / f"{name}.xml").failed, read_tests(report)
    passed = {test for _, test in again.times} - set(again.failed)
    has_passed = code_file.read_text(encoding="utf-8").strip() == "0" and not again.left_out and passed >= set(failed)
    return failed if has_passed else []


def find_problems(folder: Path, name: str, *, has_tests: bool) -> list[str]:
    """Why a stage has not passed; nothing if it has."""
    code_file = folder / f"{name}.code"
    if not code_file.is_file():
        return ["did not run"]
    code = code_file.read_text(encoding="utf-8").strip()
    passed_again = has_tests and find_passed_again(folder, name)
    problems = [] if code == "0" or passed_again else [f"exit code {code}"]
    if not has_tests:
        return problems
    report = folder / f"{name}.xml"
    if not report.is_file():
        return [*problems, "no report of its tests"]
    tests = read_tests(report)
    problems += [f"{len(tests.failed)} failed"] if tests.failed and not passed_again else []
    problems += ["no test passed"] if not tests.passed else []
    unknown = sorted({reason for reason in tests.left_out if not reason.endswith(_MAY_BE_LEFT_OUT)})
    return problems + [f"left out: {reason}" for reason in unknown]


def summarize(folder: Path, stages: dict[str, bool]) -> tuple[list[str], bool]:
    """The lines to show, and whether all is well.

    Args:
        folder: Where the stages' files lie.
        stages: The expected stages, and whether each one has tests.
    """
    lines = ["  real s   user s    sys s   tests  stage"]
    slowest: list[tuple[float, str]] = []
    again: list[str] = []
    is_well = True
    for name, has_tests in stages.items():
        problems = find_problems(folder, name, has_tests=has_tests)
        is_well = is_well and not problems
        times_file, report = folder / f"{name}.time", folder / f"{name}.xml"
        times = times_file.read_text(encoding="utf-8").split()[-3:] if times_file.is_file() else []
        tests = read_tests(report) if report.is_file() else None
        slowest += tests.times if tests else []
        again += find_passed_again(folder, name) if has_tests else []
        shown = "".join(f"{float(seconds):8.0f} " for seconds in times) or " " * 27
        count = f"{tests.passed:7}" if tests else " " * 7
        lines.append(f"{shown}{count}  {name}{': ' if problems else ''}{'; '.join(problems)}")
    lines += ["", "Failed, and passed when it ran again by itself:", *again] if again else []
    lines += ["", f"The {_SLOWEST} slowest tests:"]
    lines += [f"{seconds:8.1f} s  {name}" for seconds, name in sorted(slowest, reverse=True)[:_SLOWEST]]
    return lines, is_well


def main(arguments: list[str]) -> int:
    """Show the summary: FOLDER, then the stages; one with tests ends in a plus sign.

    With `--is-repeatable FOLDER NAME`, only answer with the exit code whether a stage's failed tests may run again.
    """
    if arguments[0] == "--is-repeatable":
        return 0 if is_repeatable(Path(arguments[1]), arguments[2]) else 1
    folder, *names = arguments
    lines, is_well = summarize(Path(folder), {name.rstrip("+"): name.endswith("+") for name in names})
    print("\n".join(lines))
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
