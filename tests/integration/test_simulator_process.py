"""The simulator as a program: its log, its exit codes, its forwarder, and the faults of the login."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import programs
from tests.integration.simulated_gateway import PATIENCE_S, PROJECT, SimulatedGateway, simulated_gateway
from tests.system import find_free_port

POSIX_ONLY = pytest.mark.skipif(sys.platform == "win32", reason="signals and file modes of POSIX")


def run_to_end(*arguments: str) -> tuple[int, str]:
    """Exit code and output of a simulator that is expected to end by itself."""
    done = programs.run([sys.executable, "-m", "orchestration.simulator", *arguments], timeout=PATIENCE_S)
    return done.returncode, done.stdout + done.stderr


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def is_kept(port: int) -> bool:
    """Whether a connection stays open for as long as it takes to ask something."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
        try:
            client.sendall(b"API\0\0\0\0\x09v157..178")
            return client.recv(1) != b""
        except ConnectionError:
            return False


def test_its_log_tells_a_login_as_the_real_controller_does_and_says_that_it_is_simulated() -> None:
    with simulated_gateway() as gateway:
        gateway.wait_for_line("API listening on")
    told = [line.partition(" IBC: ")[2] for line in gateway.lines if " IBC: " in line]
    assert told == [
        "Starting session: will exit if login dialog is not displayed within 60 seconds",
        "Login attempt: 1",
        "Login has completed",
        "Configuration tasks completed",
    ]
    assert sum("SIMULATED" in line for line in gateway.lines) >= 2


@POSIX_ONLY
@pytest.mark.parametrize("faults", ["", "slow_login=60", "second_factor", "wrong_password=0.1", "accepts_silent"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_whatever_it_is_doing(faults: str, number: signal.Signals) -> None:
    with simulated_gateway(faults=faults, is_open=False) as gateway:
        gateway.wait_for_line("Login attempt: 1")
        for _ in range(3):  # an impatient person, or a process group that was told too
            gateway.process.send_signal(number)
        assert gateway.wait_for_end() == 0
        assert sum(f"ends on {number.name}" in line for line in gateway.lines) == 1


def test_it_ends_in_order_with_clients_connected() -> None:
    with simulated_gateway() as gateway, socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as client:
        client.sendall(b"API\0\0\0\0\x09v157..178")
        assert client.recv(4)[:3] == b"\0\0\0"
        gateway.process.terminate()
        while client.recv(4096):
            pass
        if sys.platform != "win32":
            assert gateway.wait_for_end() == 0


@pytest.mark.parametrize("option", ["--port", "--forwarder"])
def test_a_port_in_use_is_said_at_once_with_exit_code_1(option: str) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        value = str(port) if option == "--port" else f"127.0.0.1:{port}"
        rest = [] if option == "--port" else ["--port", "0"]
        code, output = run_to_end("--fault", "slow_login=60", option, value, *rest)
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--fault", "slow"], "accepts_closes, accepts_silent"),
        (["--faults", "slow_login=soon"], "a number of seconds"),
        (["--port", "70000"], "not a port"),
        (["--forwarder", "4004"], "HOST:PORT"),
        (["--mode", "both"], "paper"),
    ],
)
def test_a_wrong_use_is_refused_with_what_is_allowed(arguments: list[str], says: str) -> None:
    code, output = run_to_end(*arguments)
    assert code == 2
    assert says in output
    assert "Traceback" not in output


def test_the_port_is_closed_until_the_login_is_over() -> None:
    with simulated_gateway(faults="slow_login=60", is_open=False) as gateway:
        gateway.wait_for_line("Login attempt: 1")
        assert not is_open(gateway.port)
    with simulated_gateway(faults="slow_login=0.2") as gateway:
        assert is_open(gateway.port)


def test_an_unhealthy_gateway_is_logged_in_and_its_port_stays_closed() -> None:
    with simulated_gateway(faults="unhealthy", is_open=False) as gateway:
        gateway.wait_for_line("Login has completed")
        gateway.wait_for_line("stays closed")
        assert not is_open(gateway.port)


def test_the_forwarder_accepts_and_closes_before_the_login_and_forwards_after_it() -> None:
    with simulated_gateway("--forwarder", "127.0.0.1:0", faults="second_factor=1", is_open=False) as gateway:
        gateway.wait_for_line("Second Factor Authentication initiated")
        assert not is_kept(gateway.forwarder_port)
        gateway.wait_for_line("API listening on")
        assert is_kept(gateway.forwarder_port)
        assert is_kept(gateway.port)


def test_a_wrong_password_fails_again_and_again_with_the_controllers_texts() -> None:
    with simulated_gateway(faults="wrong_password=0.05", is_open=False) as gateway:
        gateway.wait_for_line("Login attempt: 4")
        gateway.wait_for_line("Too many failed login attempts")
        gateway.wait_for_line("IBC: Login failed", times=4)
        assert not is_open(gateway.port)
        assert not any("Login has completed" in line for line in gateway.lines)


def test_a_second_factor_that_is_granted_completes_the_login() -> None:
    with simulated_gateway(faults="second_factor=0.2") as gateway:
        told = "\n".join(gateway.lines)
    assert told.index("Second Factor Authentication initiated") < told.index("Login has completed")


def test_a_second_factor_that_is_not_confirmed_is_asked_for_again_and_again() -> None:
    with simulated_gateway(faults="second_factor=never:0.1", is_open=False) as gateway:
        gateway.wait_for_line("IBC returned exit status 87", times=2)
        gateway.wait_for_line("Second Factor Authentication initiated", times=3)
        assert not is_open(gateway.port)


def test_a_second_factor_confirmed_in_a_later_dialog_completes_the_login() -> None:
    with simulated_gateway(faults="second_factor=1:0.2") as gateway:
        told = "\n".join(gateway.lines)
    assert told.index("IBC returned exit status 87") < told.index("Login has completed")


def test_it_can_end_with_87_without_a_confirmation() -> None:
    code, output = run_to_end("--port", "0", "--second-factor-timeout", "exit", "--fault", "second_factor=never:0.1")
    assert code == 87
    assert "IBC returned exit status 87" in output


def test_a_session_elsewhere_stops_the_login() -> None:
    with simulated_gateway(faults="session_taken", is_open=False) as gateway:
        gateway.wait_for_line("Existing session detected")
        assert not is_open(gateway.port)


def test_a_session_taken_later_closes_the_port_and_the_connections() -> None:
    with (
        simulated_gateway(faults="session_taken=0.5") as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S) as client,
    ):
        gateway.wait_for_line("Existing session detected")
        assert client.recv(1) == b""
        assert not is_open(gateway.port)
        assert gateway.process.poll() is None


@contextlib.contextmanager
def run_broker() -> Iterator[int]:
    argv = [sys.executable, "-m", "orchestration.simulator.broker", "--listen", "127.0.0.1:0"]
    with programs.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as broker:
        assert broker.stdout
        yield int(json.loads(broker.stdout.readline())["port"])
        broker.terminate()


def test_of_two_gateways_of_one_user_the_broker_gives_one_a_session() -> None:
    with run_broker() as port, simulated_gateway(faults=f"broker=127.0.0.1:{port}/me") as first:
        with simulated_gateway(faults=f"broker=127.0.0.1:{port}/me/secondary", is_open=False) as second:
            second.wait_for_line("Existing session detected")
            assert not is_open(second.port)
        assert is_open(first.port)
        with simulated_gateway(faults=f"broker=127.0.0.1:{port}/somebody-else/secondary"):
            assert is_open(first.port)
        with simulated_gateway(faults=f"broker=127.0.0.1:{port}/me/primary") as third:
            first.wait_for_line("Existing session detected")
            assert not is_open(first.port)
            assert is_open(third.port)


def test_a_session_ends_with_its_gateway() -> None:
    with run_broker() as port:
        with simulated_gateway(faults=f"broker=127.0.0.1:{port}/me"):
            pass
        with simulated_gateway(faults=f"broker=127.0.0.1:{port}/me/secondary") as second:
            assert is_open(second.port)


@pytest.mark.parametrize("faults", ["dies_after=0.2", "dies_after=0.2,slow_login=60"])
def test_it_dies_on_demand_with_exit_code_1(faults: str) -> None:
    with simulated_gateway(faults=faults, is_open=False) as gateway:
        assert gateway.wait_for_end() == 1
        assert "dies now" in gateway.lines[-1]


def test_a_password_file_is_read_and_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("pa55-w0rd-of-nobody\n", encoding="utf-8")
    with simulated_gateway("--password-file", str(secret)) as gateway:
        gateway.wait_for_line("Credentials: read")
    assert not any("pa55" in line for line in gateway.lines)


def test_a_password_file_that_cannot_be_read_ends_it_with_exit_code_1(tmp_path: Path) -> None:
    code, output = run_to_end("--port", "0", "--password-file", str(tmp_path / "missing"))
    assert code == 1
    assert "cannot be read" in output
    assert "Traceback" not in output


@POSIX_ONLY
def test_it_goes_on_when_its_log_is_not_read_any_more() -> None:
    port = find_free_port()
    read_end, write_end = os.pipe()
    process = programs.Popen(
        [sys.executable, "-m", "orchestration.simulator", "--port", str(port), "--fault", "slow_login=0.5"],
        cwd=PROJECT,
        stdout=write_end,
        stderr=write_end,
    )
    try:
        os.close(write_end)
        os.read(read_end, 1)
        os.close(read_end)
        deadline_s = time.monotonic() + PATIENCE_S
        while not is_open(port) and time.monotonic() < deadline_s and process.poll() is None:
            time.sleep(0.05)
        assert is_kept(port)
    finally:
        process.terminate()
        code = process.wait(PATIENCE_S)
    assert code == 0


def test_it_needs_the_standard_library_alone() -> None:
    script = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import orchestration.simulator.__main__"
    subprocess.run([sys.executable, "-I", "-S", "-c", script], check=True, timeout=PATIENCE_S)


def test_two_of_them_on_one_port_never_both_serve() -> None:
    port = str(find_free_port())
    both = [SimulatedGateway("--port", port, "--fault", "slow_login=0.3") for _ in range(2)]
    try:
        deadline_s = time.monotonic() + PATIENCE_S
        while all(gateway.process.poll() is None for gateway in both) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        codes = sorted(str(gateway.process.poll()) for gateway in both)
        assert codes == ["1", "None"]
    finally:
        for gateway in both:
            gateway.close()
    assert sum("API listening" in line for gateway in both for line in gateway.lines) == 1
    assert any("cannot listen" in line for gateway in both for line in gateway.lines)


def test_faults_of_the_first_start_are_over_at_the_second(tmp_path: Path) -> None:
    arguments = ["--start-marker", str(tmp_path / "started"), "--fault", "first_start_only", "--fault", "unhealthy"]
    with simulated_gateway(*arguments, is_open=False) as gateway:
        gateway.wait_for_line("stays closed")
    with simulated_gateway(*arguments) as gateway:
        assert is_kept(gateway.port)


def test_faults_of_the_first_start_need_a_marker() -> None:
    code, output = run_to_end("--fault", "first_start_only")
    assert code == 2
    assert "--start-marker" in output
