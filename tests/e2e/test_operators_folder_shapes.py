"""The shapes that operators give their Compose folder: each is read as `docker compose` by hand reads it (G2)."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.test_operators_folder import OwnFolder
from tests.vendor_folder import SERVICE, render_env

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("engine")]
_FILE = "docker-compose.yml"
_IMAGE = "example.org/gateway:1"  # nothing is made here


def _rename(name: str) -> Callable[[OwnFolder], None]:
    return lambda own: _move(own, _FILE, name)


def _move(own: OwnFolder, before: str, after: str) -> None:
    (own.folder / after).parent.mkdir(exist_ok=True)
    (own.folder / before).rename(own.folder / after)


def _write(own: OwnFolder, name: str, text: str) -> None:
    (own.folder / name).write_text(text, encoding="utf-8")


def _change(own: OwnFolder, before: str, after: str, *, extra: str = "") -> None:
    text = (own.folder / _FILE).read_text(encoding="utf-8")
    assert before in text
    _write(own, _FILE, text.replace(before, after) + extra)


def _add(own: OwnFolder, extra: str) -> None:
    _write(own, _FILE, (own.folder / _FILE).read_text(encoding="utf-8") + extra)


def _include(own: OwnFolder) -> None:
    _move(own, _FILE, "sub/gateway.yml")
    _write(own, "compose.yaml", f"name: {own.project}\ninclude:\n  - path: sub/gateway.yml\n    env_file: .env\n")


def _extend(own: OwnFolder) -> None:
    _move(own, _FILE, "base.yml")
    service = f"extends: {{file: base.yml, service: {SERVICE}}}\n    environment: {{MORE: '${{TWS_USERID}}'}}"
    _write(own, "compose.yml", f"name: {own.project}\nservices:\n  {SERVICE}:\n    {service}\n")


def _override(own: OwnFolder) -> None:
    service = f"container_name: {own.project}-gw\n    environment: {{TWOFA_DEVICE: IB Key}}"
    _write(own, "docker-compose.override.yml", f"services:\n  {SERVICE}:\n    {service}\n")


def _override_a_list(own: OwnFolder) -> None:
    _move(own, _FILE, "compose.yaml")
    ports = f"ports: !override ['127.0.0.1:{own.port}:4003']"
    _write(own, "compose.override.yaml", f"services:\n  {SERVICE}:\n    {ports}\n")


def _env_files(own: OwnFolder) -> None:
    _write(own, "a.env", "TWS_USERID=of a\nAAA=1\n")
    _write(own, "b.env", "AAA=2\nBBB=${AAA}\n")
    _add(own, "    env_file: [a.env, b.env, {path: none.env, required: false}]\n")


def _anchors(own: OwnFolder) -> None:
    shared = "x-env: &env\n  TWS_USERID: ${TWS_USERID}\n  TWS_PASSWORD: ${TWS_PASSWORD}\n"
    service = f"image: {_IMAGE}\n    environment: {{<<: *env, MORE: '1'}}\n    ports: ['127.0.0.1:{own.port}:4004']"
    _write(own, _FILE, f"name: {own.project}\n{shared}services:\n  {SERVICE}:\n    {service}\n")


def _two_files(own: OwnFolder) -> None:
    _move(own, _FILE, "a.yml")
    _write(own, "b.yml", f"services:\n  {SERVICE}:\n    environment: {{MORE: b}}\n")
    _write(own, ".env", render_env() + "COMPOSE_FILE=a.yml:b.yml\n")


def _password_file(own: OwnFolder) -> None:
    _write(own, "password", "x")
    _write(own, ".env", render_env(TWS_PASSWORD="") + "TWS_PASSWORD_FILE=/run/secrets/password\n")
    extra = "    secrets: [password]\nsecrets:\n  password:\n    file: ./password\n"
    _change(own, "TWS_PASSWORD: ${TWS_PASSWORD}\n", "TWS_PASSWORD_FILE: ${TWS_PASSWORD_FILE}\n", extra=extra)


def _two_addresses(own: OwnFolder) -> None:
    port = f'"127.0.0.1:{own.port}:4004"'
    _change(own, port, f'{port}\n      - "[::1]:{own.port}:4004"')


def _long_port(own: OwnFolder) -> None:
    long = f'{{target: 4004, published: "{own.port}", host_ip: 127.0.0.1}}'
    _change(own, f'"127.0.0.1:{own.port}:4004"', long)


SHAPES: dict[str, Callable[[OwnFolder], None]] = {
    "as published": lambda _: None,
    "compose.yaml": _rename("compose.yaml"),
    "compose.yml": _rename("compose.yml"),
    "docker-compose.yaml": _rename("docker-compose.yaml"),
    "include": _include,
    "extends": _extend,
    "override file": _override,
    "override of a list": _override_a_list,
    "env_file": _env_files,
    "anchors": _anchors,
    "COMPOSE_FILE": _two_files,
    "several services": lambda own: _add(own, f"    depends_on: [db]\n  db:\n    image: {_IMAGE}\n"),
    "password file": _password_file,
    "two addresses": _two_addresses,
    "long port": _long_port,
    "profiles": lambda own: _add(own, "    profiles: [live, gateway]\n"),
}


@pytest.mark.parametrize("name", ["", "named-here"], ids=["unnamed", "named here"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_folder_in_whatever_shape_is_read_as_by_hand(tmp_path: Path, shape: str, name: str) -> None:
    own = OwnFolder(tmp_path / "ib", _IMAGE, "algo-shapes", 20111, tmp_path)
    own.write()
    SHAPES[shape](own)
    by_hand = json.loads(own.by_hand("--profile", "*", "config", "--format", "json"))
    service = by_hand["services"][SERVICE]
    reading = own.read(GATEWAY_CONTAINER_NAME=name)
    assert reading.service is not None
    assert reading.project == by_hand["name"]
    environ = {name: (value or "").replace("$$", "$") for name, value in service["environment"].items()}
    assert dict(reading.service.environ) == environ
    ports = [(port["host_ip"], port["published"], port["target"]) for port in service["ports"]]
    assert [(port.host_ip, port.published, port.target) for port in reading.service.ports] == ports
    assert reading.service.container_name == service.get("container_name", "")
