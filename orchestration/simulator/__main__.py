"""`python -m orchestration.simulator`: run the stand-in for IB Gateway in the foreground.

Exit codes: 0 ended by a signal; 1 cannot listen, cannot read the password file, or died because of a fault; 2 wrong
usage; 87 the second factor was not confirmed (with `--second-factor-timeout exit`; with another `--controller` its own
code: ibcontroller 75, and 77 for a wrong password; ibg 3).
"""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestration.simulator.account import Holding, HoldingError, PlacedOrder, parse_holding, parse_order
from orchestration.simulator.dialects import Controller
from orchestration.simulator.faults import FAULT_NAMES, FaultError, Faults, parse_faults, split_faults
from orchestration.simulator.server import Simulator, SimulatorOptions
from orchestration.simulator.sockets import PortUnavailableError

_MAX_PASSWORD_BYTES = 65536
_END_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, run, and return the exit code."""
    parser = _build_parser()
    given = parser.parse_args(arguments)
    try:
        faults = _read_faults(given.fault, given.faults)
    except FaultError as error:
        parser.error(str(error))
    if given.password_file and not _has_readable_password(Path(given.password_file)):
        return 1
    marker = Path(given.start_marker) if given.start_marker else None
    if faults.first_start_only and marker is None:
        parser.error("first_start_only needs --start-marker, a file that marks that the first start is over")
    if given.faults or given.fault:
        _write(f"SIMULATED gateway with faults: {' '.join((*given.fault, *split_faults(given.faults)))}")
    if marker and _has_started_before(marker) and faults.first_start_only:
        _write("SIMULATED gateway: this is not its first start, so the faults are over")
        faults = Faults()
    live = given.mode == "live"
    options = SimulatorOptions(
        host=given.host,
        port=given.port if given.port is not None else (4001 if live else 4002),
        accounts=given.accounts or ("U1234567" if live else "DU1234567"),
        forwarder=given.forwarder,
        faults=faults,
        second_factor_exits=given.second_factor_timeout == "exit",
        holdings=tuple(given.position),
        orders=tuple(given.order),
        is_read_only=given.read_only,
        controller=Controller(given.controller),
        settings_dir=Path(given.settings_dir) if given.settings_dir else None,
        gives_way=given.existing_session == "secondary",
    )
    simulator = Simulator(options, write=_write)
    for number in _END_SIGNALS:
        # Not through asyncio: its handlers go with the loop, and a second signal would then kill the process.
        signal.signal(number, lambda found, _frame: simulator.ask_to_end(f"ends on {signal.Signals(found).name}"))
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, lambda *_: _reload_faults(simulator, given.fault, given.faults))
    try:
        return asyncio.run(simulator.run())
    except PortUnavailableError as error:
        sys.stderr.write(f"simulator: {error}; another gateway may be running there\n")
        return 1
    finally:
        for number in _END_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # else one that comes while Python shuts down would still kill


def _read_faults(fault: Sequence[str], text: str) -> Faults:
    """The faults of the command line; `@FILE` stands for the content of a file. One that is missing holds none.

    Raises:
        FaultError: There is no such fault, or the file cannot be read.
    """
    name = text.strip().removeprefix("@")
    if name != text.strip():
        try:
            text = Path(name).read_text(encoding="utf-8")
        except FileNotFoundError:
            text = ""
        except (OSError, ValueError) as error:
            raise FaultError(f"the file of faults {name} cannot be read: {error}") from None
    return parse_faults((*fault, *split_faults(text)))


def _reload_faults(simulator: Simulator, fault: Sequence[str], text: str) -> None:
    try:
        simulator.ask_to_take_faults(_read_faults(fault, text))
    except FaultError as error:
        _write(f"SIMULATED gateway: the faults stay as they are: {error}")


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m orchestration.simulator",
        usage="%(prog)s [options]",
        description="A simulated IB Gateway: it speaks the TWS API, reaches no broker and refuses every order.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address of the API (default: %(default)s)")
    parser.add_argument("--port", type=_port, help="port of the API, 0 for any free one (default: 4002, live 4001)")
    parser.add_argument("--mode", choices=("paper", "live"), default="paper", help="kind of account")
    parser.add_argument("--accounts", default="", help="managed accounts, with commas (default: DU1234567)")
    parser.add_argument(
        "--forwarder",
        type=_address,
        metavar="HOST:PORT",
        help="also listen there, from before the login, and forward to the API, as the real image does",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help=f"something that goes wrong; may be repeated: {', '.join(FAULT_NAMES)}",
    )
    parser.add_argument(
        "--faults",
        default="",
        metavar="TEXT",
        help="the same, with commas or spaces between; @FILE: as that file says, now and at each SIGHUP",
    )
    parser.add_argument(
        "--second-factor-timeout",
        choices=("restart", "exit"),
        default="restart",
        help="what follows when the second factor is not confirmed (default: %(default)s)",
    )
    parser.add_argument(
        "--existing-session",
        choices=("primary", "secondary"),
        default="primary",
        help="what a login does that finds another session of its user name (default: %(default)s)",
    )
    parser.add_argument(
        "--position", type=_holding, action="append", default=[], metavar="SYMBOL=QUANTITY",
        help="what the account holds, for example SPY=100 or ES=-2; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--order", type=_order, action="append", default=[], metavar="CLIENT:ID:ACTION:QUANTITY:SYMBOL:TYPE[:PARENT]",
        help="an open order, for example 7:12:SELL:100:SPY:STP; may be repeated",
    )  # fmt: skip
    parser.add_argument("--read-only", action="store_true", help="refuse open and completed orders, as a real one does")
    parser.add_argument(
        "--controller",
        choices=[one.value for one in Controller],
        default=Controller.IBC.value,
        metavar="|".join(Controller),
        help="whose texts the log has: the program that logs the gateway in (default: %(default)s)",
    )
    parser.add_argument("--settings-dir", default="", metavar="DIR", help="where it writes launcher.log, as a real one")
    parser.add_argument("--password-file", default="", help="a file that must be readable; its content is not used")
    parser.add_argument("--start-marker", default="", metavar="FILE", help="made at the first start: first_start_only")
    return parser


def _has_started_before(marker: Path) -> bool:
    """Whether the marker is there already; from now on it is. One that cannot be made counts as missing."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return True
    except OSError as error:
        sys.stderr.write(f"simulator: the start marker {marker} cannot be made: {error.strerror}\n")
    return False


def _port(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 0 <= int(text) <= 65535:  # noqa: PLR2004 - the highest port
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")


def _holding(text: str) -> Holding:
    try:
        return parse_holding(text)
    except HoldingError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _order(text: str) -> PlacedOrder:
    try:
        return parse_order(text)
    except HoldingError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), _port(port)


def _has_readable_password(path: Path) -> bool:
    """Prove that this user can read the secret, and say so; never a word of what it says."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_PASSWORD_BYTES)
    except OSError as error:
        sys.stderr.write(f"simulator: the password file {path} cannot be read: {error.strerror}\n")
        return False
    _write("SIMULATED gateway: Credentials: " + ("read" if content.strip() else "read, but empty (not needed here)"))
    return True


def _write(line: str) -> None:
    # The parent may be gone: a log without a reader must not end the gateway.
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
