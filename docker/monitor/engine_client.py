#!/usr/bin/env -S python3 -I
"""`docker` for a container that has the engine's socket and no Docker command line.

The monitor of the stack is such a container. It finds this program as `docker` on its PATH, so that everything that
uses Docker's command line works there too. Whoever has the socket can do anything to the host: this program does a
handful of things (inspect, ps, events, logs, exec, stop, restart, unpause, version), and only to the container that
`GATEWAY_CONTAINER_NAME` names. Output, messages and exit codes are those of Docker's own program.

It runs on the standard library alone.
"""

import argparse
import http.client
import json
import os
import re
import socket
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any, BinaryIO, NoReturn

_DEFAULT_SOCKET = "/var/run/docker.sock"
_DEFAULT_NAME = "ibkr-gateway"
_FRAME_HEADER = 8  # stream, three zeros, and the length as four bytes, big-endian
_STDERR_STREAM = 2
_CHUNK = 65536
_ERROR = 1
_USAGE_ERROR = 125  # as `docker` itself


class EngineError(Exception):
    """What Docker's own program would print on standard error."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


class Engine:
    """The engine behind a socket, for one container of it.

    Args:
        path: The socket.
        name: The container's exact name.
    """

    def __init__(self, path: str, name: str) -> None:
        self._path = path
        self._name = name

    def request(
        self, method: str, path: str, query: Mapping[str, object] | None = None, body: object = None
    ) -> http.client.HTTPResponse:
        """Ask, and return the answer with its body still to be read.

        Raises:
            EngineError: No engine answers, or it says no.
        """
        target = path + (f"?{urllib.parse.urlencode({**query})}" if query else "")
        connection = _UnixConnection(self._path)
        try:
            connection.request(
                method,
                target,
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": "application/json"} if body is not None else {},
            )
            response = connection.getresponse()
        except PermissionError:
            raise EngineError(
                "permission denied while trying to connect to the Docker daemon socket at "
                f"unix://{self._path}: {_describe_owner(self._path)}"
            ) from None
        except (OSError, http.client.HTTPException):
            raise EngineError(
                f"Cannot connect to the Docker daemon at unix://{self._path}. Is the docker daemon running?"
            ) from None
        if response.status >= http.client.BAD_REQUEST:
            raise EngineError(f"Error response from daemon: {_read_message(response)}")
        return response

    def read(self, method: str, path: str, query: Mapping[str, object] | None = None, body: object = None) -> Any:  # noqa: ANN401 - a JSON document
        """Ask, and return the whole answer; None if it is empty."""
        with closing(self.request(method, path, query, body)) as response:
            content = response.read()
        return json.loads(content) if content.strip() else None

    def find(self, reference: str) -> dict[str, Any]:
        """Look at the container by its name or id.

        Raises:
            EngineError: There is none, or it is not the one that this program may touch.
        """
        quoted = urllib.parse.quote(reference, safe="")
        found: dict[str, Any] = self.read("GET", f"/containers/{quoted}/json")
        if found["Name"].removeprefix("/") != self._name:
            raise EngineError(f"Error response from daemon: only container {self._name} may be used here")
        return found

    def list_ids(self, labels: Sequence[str]) -> list[str]:
        """The ids of the containers with these labels, as far as they may be touched."""
        found = self.read("GET", "/containers/json", {"all": 1, "filters": json.dumps({"label": list(labels)})})
        return [str(one["Id"]) for one in found if f"/{self._name}" in one["Names"]]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what Docker's command line would do, and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["compose"]:
        sys.stderr.write("docker: 'compose' is not a docker command.\n")
        return _ERROR
    given = _build_parser().parse_args(words)
    engine = Engine(_find_socket(os.environ), os.environ.get("GATEWAY_CONTAINER_NAME", "") or _DEFAULT_NAME)
    try:
        return int(given.act(engine, given) or 0)
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        return _ERROR
    except BrokenPipeError:
        sys.stderr.close()  # its reader is gone
        return _ERROR


def _find_socket(environ: Mapping[str, str]) -> str:
    host = environ.get("DOCKER_HOST", "")
    return host.removeprefix("unix://") if host.startswith("unix://") else _DEFAULT_SOCKET


def _describe_owner(path: str) -> str:
    try:
        group = os.stat(path).st_gid  # noqa: PTH116 - also runs where nothing of the project is
    except OSError:
        return "it cannot be looked at"
    return f"it belongs to group {group}: set DOCKER_GID={group} (`docker/stack` does), and recreate this container"


def _read_message(response: http.client.HTTPResponse) -> str:
    content = response.read()
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode("utf-8", "replace").strip() or f"status {response.status}"


# ---------------------------------------------------------------- the commands


def _version(engine: Engine, given: argparse.Namespace) -> None:
    del given
    _print(engine.read("GET", "/version")["Version"])


def _inspect(engine: Engine, given: argparse.Namespace) -> int:
    try:
        found = engine.find(given.container)
    except EngineError as error:
        _print("[]")
        raise EngineError(str(error)) from None
    _print(json.dumps([found], indent=4))
    return 0


def _ps(engine: Engine, given: argparse.Namespace) -> None:
    labels = [text.removeprefix("label=") for text in given.filter if text.startswith("label=")]
    for one in engine.list_ids(labels):
        _print(one)


def _logs(engine: Engine, given: argparse.Namespace) -> None:
    found = engine.find(given.container)
    query: dict[str, object] = {"stdout": 1, "stderr": 1, "tail": given.tail}
    query |= {"follow": int(given.follow), "timestamps": int(given.timestamps)}
    if given.since:
        query["since"] = parse_since(given.since, time.time())
    with closing(engine.request("GET", f"/containers/{found['Id']}/logs", query)) as response:
        _copy_stream(response, is_raw=bool(found["Config"]["Tty"]))


def _events(engine: Engine, given: argparse.Namespace) -> None:
    filters: dict[str, list[str]] = {}
    for text in given.filter:
        name, _, value = text.partition("=")
        filters.setdefault(name, []).append(value)
    query: dict[str, object] = {"filters": json.dumps(filters)}
    if given.since:
        query["since"] = parse_since(given.since, time.time())
    with closing(engine.request("GET", "/events", query)) as response:
        for document in read_documents(response):
            _print(str(document.get("Action", "")))


def _stop(engine: Engine, given: argparse.Namespace) -> None:
    found = engine.find(given.container)
    engine.read("POST", f"/containers/{found['Id']}/{given.verb}", {"t": given.time})
    _print(given.container)


def _unpause(engine: Engine, given: argparse.Namespace) -> None:
    found = engine.find(given.container)
    engine.read("POST", f"/containers/{found['Id']}/unpause")
    _print(given.container)


def _exec(engine: Engine, given: argparse.Namespace) -> int:
    found = engine.find(given.container)
    body = {"AttachStdout": True, "AttachStderr": True, "Cmd": [given.program, *given.arguments]}
    if given.user:
        body["User"] = given.user
    made = engine.read("POST", f"/containers/{found['Id']}/exec", body=body)
    start = {"Detach": False, "Tty": False}
    with closing(engine.request("POST", f"/exec/{made['Id']}/start", body=start)) as response:
        _copy_stream(response, is_raw=False)
    return int(engine.read("GET", f"/exec/{made['Id']}/json")["ExitCode"] or 0)


# ---------------------------------------------------------------- texts and streams


def parse_since(text: str, now_s: float) -> str:
    """An instant, or a time before now (`5s`), as the engine's API takes it: seconds since the epoch.

    Raises:
        EngineError: It is neither.
    """
    passed = re.fullmatch(r"(\d+)s", text)
    if passed:
        return f"{now_s - int(passed[1]):.9f}"
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise EngineError(f"invalid value for --since: {text!r}") from None
    return f"{instant.timestamp():.9f}"


def split_frames(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The pieces of a multiplexed stream: 1 for standard output or 2 for standard error, and the bytes."""
    while len(header := _read_exactly(stream, _FRAME_HEADER)) == _FRAME_HEADER:
        yield header[0], _read_exactly(stream, int.from_bytes(header[4:], "big"))


def read_documents(stream: BinaryIO) -> Iterator[dict[str, Any]]:
    """The JSON documents of a stream, as they come, one after the other with or without line ends between them."""
    decoder = json.JSONDecoder()
    text = ""
    while piece := _read_some(stream):
        text = (text + piece.decode("utf-8", "replace")).lstrip()
        while text:
            try:
                document, end = decoder.raw_decode(text)
            except ValueError:
                break  # the rest of it is still to come
            yield document
            text = text[end:].lstrip()


def _read_some(stream: BinaryIO) -> bytes:
    """What has come so far, at least one byte; empty at the end."""
    read1 = getattr(stream, "read1", None)
    return bytes(read1(_CHUNK) if read1 is not None else stream.read(_CHUNK))


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    content = b""
    while len(content) < size:
        piece = stream.read(size - len(content))
        if not piece:
            break
        content += piece
    return content


def _copy_stream(response: http.client.HTTPResponse, *, is_raw: bool) -> None:
    if is_raw:
        while piece := _read_some(response):
            _write(piece, sys.stdout.buffer)
        return
    for number, content in split_frames(response):
        _write(content, sys.stderr.buffer if number == _STDERR_STREAM else sys.stdout.buffer)


def _write(content: bytes, stream: BinaryIO) -> None:
    stream.write(content)
    stream.flush()  # a follower of the log waits for each line


def _print(text: str) -> None:
    _write(f"{text}\n".encode(), sys.stdout.buffer)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE_ERROR, f"docker: {message} (this is a small part of Docker's command line)\n")


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="docker", description="The engine's socket, for the gateway's container alone.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    version = commands.add_parser("version")
    version.add_argument("--format", default="")
    version.set_defaults(act=_version)

    container = commands.add_parser("container").add_subparsers(required=True, metavar="COMMAND")
    for parent in (container, commands):
        inspect = parent.add_parser("inspect")
        inspect.add_argument("container")
        inspect.set_defaults(act=_inspect)

    ps = commands.add_parser("ps")
    for flag in ("--all", "--no-trunc", "--quiet"):
        ps.add_argument(flag, action="store_true")
    ps.add_argument("--filter", action="append", default=[])
    ps.set_defaults(act=_ps)

    logs = commands.add_parser("logs")
    logs.add_argument("--tail", default="all")
    logs.add_argument("--since", default="")
    logs.add_argument("--follow", "-f", action="store_true")
    logs.add_argument("--timestamps", "-t", action="store_true")
    logs.add_argument("container")
    logs.set_defaults(act=_logs)

    events = commands.add_parser("events")
    events.add_argument("--since", default="")
    events.add_argument("--filter", action="append", default=[])
    events.add_argument("--format", default="")
    events.set_defaults(act=_events)

    for verb in ("stop", "restart"):
        change = commands.add_parser(verb)
        change.add_argument("--time", "-t", type=int, default=10)
        change.add_argument("container")
        change.set_defaults(act=_stop, verb=verb)

    unpause = commands.add_parser("unpause")
    unpause.add_argument("container")
    unpause.set_defaults(act=_unpause)

    run = commands.add_parser("exec")
    run.add_argument("--user", "-u", default="")
    run.add_argument("container")
    run.add_argument("program")
    run.add_argument("arguments", nargs=argparse.REMAINDER)
    run.set_defaults(act=_exec)
    return parser


if __name__ == "__main__":
    sys.exit(main())
