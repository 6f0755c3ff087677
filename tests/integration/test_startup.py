"""The whole sequence as its users meet it: real processes, real sockets, the built-in gateway."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.alerts_scene import LoopbackChannel
from tests.start_picture import flatten, read_picture
from tests.system import PROJECT, System, day_from_today, is_port_free, wait_until

STEPS = ["preflight", "gateway.up", "gateway.wait", "gameplan.check", "bot.start"]
KEYS = {
    "run_id",
    "instance",
    "result",
    "exit_code",
    "state",
    "failure",
    "fallback",
    "message",
    "next_action",
    "started_at",
    "duration_s",
    "steps",
    "gateway",
    "gameplan",
    "bot",
}


def test_simulate_brings_everything_up_and_shutdown_leaves_nothing_behind(system: System) -> None:
    system.kind = subprocess.Popen
    system.environ["BOT_START_GRACE"] = "30"  # so that it is up by its own word, however slow the machine is
    started = system.inv("startup", "--simulate", "--json")
    assert started.code == 0, started.err
    report = started.document
    assert report.keys() >= KEYS
    assert (report["result"], report["state"], report["failure"], report["fallback"]) == (
        "success",
        "success",
        None,
        None,
    )
    assert [step["name"] for step in report["steps"]] == STEPS
    assert [step["state"] for step in report["steps"]] == [
        "initializing",
        "gateway_starting",
        "gateway_validated",
        "gameplan_loading",
        "bot_running",
    ]
    assert report["gateway"]["runtime"] == "simulator"
    assert report["gateway"]["validated"] is True
    assert all("*" in account for account in report["gateway"]["accounts"])
    assert report["gameplan"]["strategy"] == "A"
    assert Path(report["gameplan"]["path"]).is_absolute()
    assert report["bot"]["ready_by"] == "notify"
    assert [bot.pid for bot in system.bots()] == [report["bot"]["pid"]]
    # The README's picture shows what is said today (`python -m tests.start_picture` makes it).
    picture = read_picture()
    for step in report["steps"][1:]:  # how much preflight finds is the machine's
        assert flatten(step["detail"], system.root) in picture

    status = system.inv("status", "--json")
    assert status.code == 0, status.out
    assert status.document["gateway"]["simulated"] is True
    assert status.document["bot"]["pid"] == report["bot"]["pid"]

    stopped = system.inv("shutdown", "--json")  # no --simulate, and the document still says whose gateway it was
    assert (stopped.code, stopped.document["simulated"]) == (0, True), stopped.out
    assert system.processes() == []
    assert is_port_free(system.port)
    assert system.inv("status").code == 3


def test_a_bot_without_a_plan_runs_on_the_emergency_plan_and_the_code_is_two(system: System) -> None:
    system.use_small_bot("--ready")
    started = system.startup()
    assert started.code == 2, started.err
    report = started.document
    assert (report["result"], report["fallback"]) == ("partial", "GAMEPLAN_NOT_CONFIGURED")
    assert report["gameplan"]["strategy"] == "C"
    plan = json.loads(Path(report["gameplan"]["path"]).read_text(encoding="utf-8"))
    assert plan["emergency_reason"] == "GAMEPLAN_NOT_CONFIGURED"
    assert plan["symbols"] == []
    assert system.inv("status").code == 0  # all well, whichever plan


def test_a_bad_plan_leads_to_the_emergency_plan(system: System) -> None:
    system.use_small_bot("--ready")
    cases: list[tuple[dict[str, object], str]] = [
        ({"date": day_from_today(7)}, "GAMEPLAN_NOT_YET"),
        ({"strategy": "Z"}, "GAMEPLAN_INVALID"),
        ({"data_quality": {"quarantine_active": True}}, "GAMEPLAN_QUARANTINED"),
        ({"data_quarantine": True}, "GAMEPLAN_QUARANTINED"),
    ]
    for changes, word in cases:
        system.use_plan(**changes)
        checked = system.inv("gameplan.check", "--json")
        assert checked.code == 0, checked.err
        assert (checked.document["fallback"], checked.document["gameplan"]["strategy"]) == (word, "C")
        assert checked.document["gameplan"]["path"] == str(system.state / "emergency_gameplan.json")
    system.use_plan(date=day_from_today(-7))
    started = system.startup()
    assert started.code == 2, started.err
    assert started.document["fallback"] == "GAMEPLAN_STALE"
    bot = system.bots()[0]
    assert bot.environ()["GAMEPLAN_PATH"] == started.document["gameplan"]["path"]
    assert bot.environ()["GAMEPLAN_PATH"] == str(system.state / "emergency_gameplan.json")


@pytest.mark.parametrize(("is_session", "severity"), [(False, "info"), (True, "warning")])
def test_an_old_plan_is_information_in_every_alert_on_a_day_without_a_session(
    system: System, *, is_session: bool, severity: str
) -> None:
    system.use_small_bot("--ready")
    closed = system.root / "closed"
    closed.write_text("" if is_session else "\n".join(day_from_today(day) for day in (-1, 0, 1)), encoding="utf-8")
    system.environ["MARKET_CALENDAR"] = f"daily,{closed}"
    system.use_plan(date=day_from_today(-7))
    started = system.startup()
    assert (started.code, started.document["fallback"]) == (2, "GAMEPLAN_STALE")
    alerts = system.inv("history", "--json").document["runs"][0]["alerts"]
    told = {alert["title"]: alert["severity"] for alert in alerts if "mergency plan" in alert["title"]}
    assert told == {"Operational, on the emergency plan": severity}
    assert {alert["severity"] for alert in alerts if alert["title"] == "Strategy C: no trading"} == {severity}


def test_a_start_shows_every_problem_of_its_plan_and_keeps_them(system: System, channel: LoopbackChannel) -> None:
    system.use_small_bot("--ready")
    system.use_plan(bias="up", Date="2026-11-18", vix_gate={"check_time": "9:40", "treshold": 30}, symbols=["S;Y"])
    system.environ["DISCORD_WEBHOOK_URL"] = channel.address
    started = system.startup()
    problems = started.document["gameplan"]["problems"]
    assert [problem.split(":")[0] for problem in problems] == [
        *("bias", "symbols[0]", "vix_gate.threshold", "vix_gate.check_time", "Date", "vix_gate.treshold")
    ]
    steps = system.inv("history", "--json").document["runs"][0]["steps"]
    kept = next(step["detail"] for step in steps if step["name"] == "gameplan.check")
    alert = next(one for one in channel.received if "Strategy C" in one.title)
    for problem in problems:
        for where in (started.err, kept, system.startup_log(), json.dumps(alert.document, ensure_ascii=False)):
            assert problem in where.replace('\\"', '"'), problem


def test_a_valid_plan_that_chooses_c_itself_is_a_full_success(system: System) -> None:
    system.use_small_bot("--ready")
    system.use_plan(strategy="C", symbols=[])
    assert system.startup().code == 0


def test_a_bot_that_says_nothing_is_up_after_the_grace_time(system: System) -> None:
    system.use_small_bot()
    system.use_plan()
    started = system.startup()
    assert started.code == 0, started.err
    assert started.document["bot"]["ready_by"] == "grace"


def test_a_bot_that_dies_at_once_is_a_failure_with_its_last_lines(system: System) -> None:
    system.use_small_bot(code="import sys; print('cannot find my strategy file'); sys.exit(7)")
    system.use_plan()
    started = system.startup()
    assert started.code == 1
    assert started.document["failure"] == "BOT_START_FAILED"
    assert "7" in started.document["message"]
    assert any("cannot find my strategy file" in line for line in started.document["evidence"])
    assert system.bots() == []


def test_a_running_bot_is_left_alone_by_whatever_is_not_meant_for_it(system: System) -> None:
    system.use_small_bot("--ready")
    source = system.use_plan()
    report = system.startup().document
    pid = report["bot"]["pid"]
    copy = Path(report["gameplan"]["path"])
    assert copy != source
    assert copy.read_bytes() == source.read_bytes(), "the bot gets a copy of the bytes that were checked"
    source.write_text("{}", encoding="utf-8")
    assert json.loads(copy.read_text(encoding="utf-8"))["strategy"] == "A"
    system.use_plan()

    again = system.startup()
    assert again.code == 1
    assert again.document["failure"] == "BOT_ALREADY_RUNNING"
    assert str(pid) in again.document["message"]
    for switch, code, said in (
        ("--json", 1, "BOT_ALREADY_RUNNING"),
        ("--foreground", 0, "keep process"),
        ("--replace", 0, "stop process"),
    ):
        dry = system.inv("startup", "--dry-run", switch)
        assert dry.code == code, dry.out
        assert said in dry.out

    # Which instance is meant must not be in doubt.
    refused = system.inv("shutdown", "--json", environ={"INSTANCE": "../other"})
    assert (refused.code, refused.document["failure"]) == (1, "CONFIG_INVALID")
    told = system.inv("status", "--json", environ={"INSTANCE": "../other"})
    assert told.code == 4
    assert "INSTANCE" in told.document["message"]
    assert [bot.pid for bot in system.bots()] == [pid]
    assert system.inv("status").code == 0


def test_replace_stops_the_running_bot_first_and_a_wrong_setting_does_not_keep_it_running(system: System) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    first = system.startup().document["bot"]["pid"]
    second = system.startup("--replace").document["bot"]["pid"]
    assert first != second
    assert [bot.pid for bot in system.bots()] == [second]

    wrong = {"BOT_LOG_LEVEL": "LOUD"}
    assert system.inv("status", environ=wrong).code == 0
    assert system.inv("shutdown", environ=wrong).code == 0
    assert system.processes() == []


def test_the_five_tasks_on_one_line_are_one_run_that_does_what_startup_does(system: System) -> None:
    system.kind = subprocess.Popen
    system.use_small_bot("--ready")
    ended = system.inv("preflight", "gateway.up", "gateway.wait", "gameplan.check", "bot.start", "--json")
    assert ended.code == 2, ended.err
    report = ended.document
    assert [step["name"] for step in report["steps"]] == STEPS
    assert report["fallback"] == "GAMEPLAN_NOT_CONFIGURED"
    runs = system.inv("history", "--json").document["runs"]
    assert [(run["kind"], run["exit_code"]) for run in runs] == [("startup", 2)]
    assert runs[0]["started_at"][10] == "T", "the same form of time as in every other document"


@pytest.mark.parametrize("first", [["bot.start"], ["gameplan.check", "--path", "PLAN"]])
def test_a_step_named_twice_or_one_that_only_judges_leaves_no_run_open(system: System, first: list[str]) -> None:
    system.use_small_bot("--ready")
    plan = system.use_plan()
    assert system.inv("gateway.up", "gateway.wait").code == 0
    ended = system.inv(*(str(plan) if word == "PLAN" else word for word in first), "bot.start")
    assert ended.code == 0, ended.err
    assert "SUCCESS" in ended.out
    newest = system.inv("history", "--json").document["runs"][0]
    assert (newest["kind"], newest["exit_code"]) == ("bot.start", 0)


def test_the_log_that_is_shown_is_that_of_the_run_under_way(system: System) -> None:
    system.environ["SIMULATOR_FAULTS"] = "slow_login=30"
    waiting = system.begin()
    wait_until(lambda: "gateway.wait" in system.startup_log(), "the wait")
    assert system.startup().document["failure"] == "ALREADY_STARTING"
    assert f"(process {waiting.pid})" in system.inv("logs").out


def test_a_failed_step_ends_the_line(system: System) -> None:
    system.environ["SIMULATOR_FAULTS"] = "wrong_account"
    system.use_small_bot("--ready")
    ended = system.inv("gateway.up", "gateway.wait", "gameplan.check", "bot.start", "--json")
    assert ended.code == 1
    assert ended.document["failure"] == "GATEWAY_WRONG_ACCOUNT"
    assert [step["status"] for step in ended.document["steps"]][-2:] == ["skip", "skip"]
    assert system.bots() == []


def test_gameplan_check_alone_activates_the_plan_and_ends_with_zero_either_way(system: System) -> None:
    bad = system.inv("gameplan.check", "--json")
    assert bad.code == 0, bad.err
    assert bad.document["gameplan"]["strategy"] == "C"
    system.use_plan()
    good = system.inv("gameplan.check", "--json")
    assert good.code == 0
    assert good.document["gameplan"]["strategy"] == "A"


def test_a_new_plan_is_valid_on_the_day_it_is_for_and_no_file_is_overwritten(system: System) -> None:
    environ = {"MARKET_CALENDAR": "NYSE"}
    path = system.root / "new.json"
    asked = ("gameplan.new", "--path", str(path), "--date", "2026-11-27", "--json")
    assert system.inv(*asked, environ=environ).document == {"path": str(path), "strategy": "A", "date": "2026-11-27"}
    again = system.inv(*asked, environ=environ)
    assert (again.code, "is there already" in again.document["message"]) == (1, True)
    words = {}
    for at in (
        *("2026-11-26T20:00:00Z", "2026-11-27T14:15:00+00:00", "2026-11-27t14:15:00z", "2026-11-30T09:15:00-05:00"),
        *("noon", "2026-11-27", "0001-01-01T00:00:00+14:00"),
    ):
        judged = system.inv("gameplan.check", "--path", str(path), "--at", at, "--json", environ=environ)
        words[at] = (judged.code, judged.document.get("word"))
    assert words == {
        "2026-11-26T20:00:00Z": (0, None),  # Thanksgiving: the next session's plan counts
        "2026-11-27T14:15:00+00:00": (0, None),
        "2026-11-27t14:15:00z": (0, None),
        "2026-11-30T09:15:00-05:00": (1, "GAMEPLAN_STALE"),
        "noon": (1, None),
        "2026-11-27": (1, None),  # no offset
        "0001-01-01T00:00:00+14:00": (1, None),  # before the first day there is
    }
    closed = system.inv("gameplan.new", "--date", "2026-12-25", "--json", environ=environ)
    assert (closed.code, "closed on 2026-12-25" in closed.document["message"]) == (1, True)
    none = system.inv("gameplan.new", "--strategy", "C", "--date", "2026-12-25", "--path", str(system.root / "c.json"),
                      environ=environ)  # fmt: skip
    judged = system.inv("gameplan.check", "--path", str(system.root / "c.json"), "--at", "2026-12-25T10:00:00-05:00",
                        environ=environ)  # fmt: skip
    assert (none.code, judged.code) == (0, 0)
    assert system.inv("gameplan.check", "--at", "2026-12-25T10:00:00-05:00").code == 1


def test_gameplan_check_with_a_path_only_judges(system: System) -> None:
    plan = system.use_plan(strategy="Z")
    judged = system.inv("gameplan.check", "--path", str(plan), "--json")
    assert judged.code == 1
    assert judged.document["word"] == "GAMEPLAN_INVALID"
    assert any("strategy" in problem for problem in judged.document["problems"])
    assert not system.state.exists()
    assert system.inv("gameplan.check", "--path", str(system.use_plan())).code == 0


@pytest.mark.parametrize("given", [["--path", ""], ["--path="], ["--path", " "], ["--path", "", "--json"]])
def test_an_empty_path_is_a_mistake_and_activates_nothing(system: System, given: list[str]) -> None:
    ended = system.inv("gameplan.check", *given)
    assert ended.code == 1
    assert ("--json" in given) == bool(ended.out), "a program gets a document"
    assert not system.state.exists()


def test_bot_start_alone_validates_the_gateway_and_does_not_start_it(system: System) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    ended = system.inv("bot.start", "--json")
    assert ended.code == 1
    assert ended.document["failure"].startswith("GATEWAY_")
    assert system.processes() == []
    assert system.inv("gateway.up", "gateway.wait").code == 0
    assert system.inv("bot.start").code == 0
    assert len(system.bots()) == 1


def test_preflight_and_a_dry_run_change_nothing(system: System) -> None:
    system.use_small_bot("--ready")
    checks = system.inv("preflight", "--json")
    assert checks.code == 0, checks.out
    assert {check["status"] for check in checks.document["checks"]} <= {"ok", "warn", "skip"}
    dry = system.inv("startup", "--dry-run")
    assert dry.code == 2, dry.out
    assert not system.state.exists()
    assert not system.logs.exists()
    assert system.processes() == []


def _hold(system: System) -> None:
    assert system.inv("hold", "--reason", "holiday").code == 0


def _give_up(system: System) -> None:
    record = {"failed_at": [], "given_up": "why", "given_up_at": "2026-11-29T00:00:00+00:00", "word": "GATEWAY_TIMEOUT"}
    system.state.mkdir(parents=True)
    (system.state / "attempts.json").write_text(json.dumps(record), encoding="utf-8")


def _finish_under_a_supervisor(system: System) -> None:
    system.use_small_bot(code="")
    system.begin("--foreground")
    system.wait_for_log("result success")


def _want_no_bot_on_strategy_c(system: System) -> None:
    system.use_plan(strategy="C", symbols=[])
    system.environ["STRATEGY_C_BOT"] = "none"


def _block_the_plans_copies(system: System) -> None:
    system.state.mkdir(parents=True)
    (system.state / "gameplans").write_text("in the way", encoding="utf-8")


def _leave_the_gateway_unused(system: System) -> None:
    system.environ |= {"GATEWAY_RUNTIME": "external", "GATEWAY_HEALTH_TIMEOUT": "0.5"}


def _need_a_lease(system: System) -> None:
    system.environ["LEASE_ETCD"] = "http://127.0.0.1:1"


def _name_no_program(system: System) -> None:
    system.environ["BOT_COMMAND"] = "/not/there"


@pytest.mark.parametrize(
    ("prepare", "switch"),
    [
        (_hold, ()),
        (_hold, ("--service",)),
        (_give_up, ("--service",)),
        (_name_no_program, ("--service",)),
        (_need_a_lease, ()),
        (_finish_under_a_supervisor, ()),
        (_finish_under_a_supervisor, ("--service",)),
        (_leave_the_gateway_unused, ()),
        (_want_no_bot_on_strategy_c, ()),
        (_block_the_plans_copies, ()),
    ],
)
def test_a_dry_run_predicts_the_exit_code_and_the_word(
    system: System, prepare: Callable[[System], None], switch: tuple[str, ...]
) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    prepare(system)

    planned = system.startup("--dry-run", *switch)
    done = system.startup(*switch)

    assert (planned.code, planned.document["expected_exit_code"]) == (done.code, done.code), planned.out
    word = done.document["failure"] or done.document["fallback"]
    assert word is None or word in json.dumps(planned.document["steps"])


def test_a_dry_run_names_a_damaged_state_file(system: System) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    system.state.mkdir(parents=True)
    (system.state / "bot_workers.json").write_text("[", encoding="utf-8")

    planned = system.startup("--dry-run")

    assert planned.code == 0
    assert any("bot_workers.json cannot be used" in one for one in planned.document["warnings"])
    assert "bot_workers.json cannot be used" in " ".join(system.inv("startup", "--dry-run").out.split())


def test_every_configuration_problem_stands_in_one_message(system: System) -> None:
    system.environ |= {"GATEWAY_PORT": "zero", "TRADING_MODE": "lvie", "BOT_START_GRACE": "-1"}
    started = system.startup()
    assert started.code == 1
    report = started.document
    assert report["failure"] == "CONFIG_INVALID"
    assert all(name in report["message"] for name in ("GATEWAY_PORT", "TRADING_MODE", "BOT_START_GRACE"))
    shown = system.inv("config", "--json")
    assert shown.code == 1
    assert len(shown.document["problems"]) == 3
    assert system.inv("history", "--json").document["runs"][0]["failure"] == "CONFIG_INVALID"
    checks = system.inv("preflight", "--json")
    assert checks.code == 1
    assert len([check for check in checks.document["checks"] if check["status"] == "fail"]) == 3


def test_a_plan_that_the_emergency_plan_would_be_written_over_is_refused(system: System) -> None:
    system.use_small_bot("--ready")
    system.environ["GAMEPLAN_PATH"] = str(system.state / "emergency_gameplan.json")
    started = system.startup()
    assert (started.code, started.document["failure"]) == (1, "CONFIG_INVALID")
    assert "EMERGENCY_GAMEPLAN_PATH" in started.document["message"]


@pytest.mark.parametrize("arguments", [["--no-such-flag"], ["startup", "now"]])
def test_a_usage_error_never_looks_like_a_partial_success(system: System, arguments: list[str]) -> None:
    assert system.startup(*arguments).code == 1


def test_a_held_system_stays_down_and_says_who_holds_it(system: System) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    system.startup()
    assert system.inv("hold", "--reason", "maintenance of the host").code == 0
    assert system.processes() == []
    assert system.inv("gateway.down").code == 0  # what stops something is not refused
    refused = system.startup()
    assert refused.code == 1
    assert refused.document["failure"] == "HELD"
    assert "maintenance of the host" in refused.document["message"]
    assert system.inv("resume").code == 0
    assert system.startup().code == 0


def test_the_wrapper_keeps_the_exit_code_from_any_folder_and_through_a_link(system: System, tmp_path: Path) -> None:
    wrapper = PROJECT / "docker/gateway/scripts/production-startup.sh"
    link = tmp_path / "a link with spaces"
    link.symlink_to(wrapper)
    system.use_small_bot("--ready")
    system.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{system.environ['PATH']}"
    assert system.run(["bash", "-c", f"cd / && '{link}'"]).code == 2
    assert system.run([str(link)]).code == 1  # the bot runs already
    system.use_plan()
    assert system.run([str(link), "--replace"]).code == 0
    assert len(list(system.logs.glob("startup_*.log"))) == 3


def test_a_simulated_gateway_refuses_a_port_that_another_program_holds(system: System) -> None:
    import socket

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", system.port))
        holder.listen()
        started = system.inv("startup", "--simulate", "--json")
    assert started.code == 1
    assert started.document["failure"] == "GATEWAY_START_FAILED"
    assert system.processes() == []


@pytest.mark.parametrize("tasks", [["startup"], ["gateway.up", "bot.start"], ["hold"]])
def test_invokes_own_dry_switch_lets_nothing_happen(system: System, tasks: list[str]) -> None:
    system.use_small_bot("--ready")
    system.inv("--dry", *tasks)
    assert not system.state.exists()
    assert system.processes() == []


def test_a_date_that_is_not_judged_is_no_problem_of_the_status(system: System) -> None:
    system.use_small_bot("--ready")
    system.use_plan(date="2020-01-02")
    system.environ["GAMEPLAN_FRESHNESS"] = "off"
    assert system.startup().code == 0
    assert system.inv("status").code == 0


def test_of_the_built_in_gateways_logs_only_the_newest_are_kept(system: System) -> None:
    system.environ["LOG_KEEP"] = "1"
    kept = []
    for _ in range(2):
        assert system.inv("gateway.up").code == 0
        assert system.inv("gateway.down").code == 0
        (log,) = system.logs.glob("gateway_*.log")
        kept.append(log.name)
    assert kept == sorted(set(kept)), "the newest one"


def test_a_further_schema_that_is_missing_is_named_once(system: System) -> None:
    system.environ["GAMEPLAN_SCHEMA"] = "nowhere.json"
    message = str(system.startup().document["message"])
    assert message.count("GAMEPLAN_SCHEMA") == 1, message


# A signal that comes while the run is being opened: what shows the run sends it, before anything is done.
_INTERRUPTED_WHILE_OPENING = """
import os, signal, sys
from orchestration import presenter as console
from orchestration.startup.report import build_json
from orchestration.startup.sequence import StartupOptions, run_startup

class Interrupting(console.PlainDisplay):
    def begin(self, **shown):
        super().begin(**shown)
        os.kill(os.getpid(), signal.SIGTERM)

report = run_startup(StartupOptions(), Interrupting(sys.stderr))
console.print_json(build_json(report))
sys.exit(int(report.exit_code))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_signal_that_comes_while_the_run_is_opened_ends_it_as_interrupted(system: System) -> None:
    ended = system.run([sys.executable, "-c", _INTERRUPTED_WHILE_OPENING])
    assert (ended.code, ended.document["failure"]) == (1, "INTERRUPTED"), ended.err
    assert [run["failure"] for run in system.inv("history", "--json").document["runs"]] == ["INTERRUPTED"]
    assert system.processes() == []
