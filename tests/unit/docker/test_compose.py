"""Compose: its files, its project's name, and what its answers and complaints mean."""

import json
import re
from pathlib import Path

import pytest

from orchestration.docker.compose import (
    PublishedPort,
    ServiceConfig,
    ServiceNames,
    advise_on_failure,
    build_project_name,
    find_compose_files,
    parse_service_config,
    parse_service_names,
)

KNOWN = ServiceNames(
    prefix="GATEWAY",
    container="ibkr-gateway",
    image="x:1",
    port=4002,
    directory_variable="DOCKER_COMPOSE_DIR",
    directory=Path("/srv"),
    file=Path("/srv/compose.yml"),
)


@pytest.mark.parametrize("name", ["ibkr-gateway", "gateway_2", "4gateways"])
def test_the_projects_name_is_the_containers_where_compose_allows_it(name: str) -> None:
    assert build_project_name(name) == name


@pytest.mark.parametrize("name", ["Gateway", "ibkr.gateway", "A", "GATEWAY-1"])
def test_a_name_that_compose_does_not_allow_is_changed_into_one_that_it_does(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*-[0-9a-f]{6}", build_project_name(name))


def test_names_that_compose_would_make_the_same_stay_different_projects() -> None:
    names = ["gateway.1", "gateway-1", "Gateway-1", "GATEWAY-1", "gateway_1"]
    assert len({build_project_name(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("present", "found"),
    [
        ([], []),
        (["docker-compose.yml"], ["docker-compose.yml"]),
        (["docker-compose.yml", "compose.yaml"], ["compose.yaml"]),
        (["compose.yml", "compose.override.yml"], ["compose.yml", "compose.override.yml"]),
        (["docker-compose.override.yml"], []),
    ],
)
def test_the_compose_files_of_a_folder_are_found(tmp_path: Path, present: list[str], found: list[str]) -> None:
    (tmp_path.parent / "compose.yaml").touch()  # Compose itself would look in the folder above
    for name in present:
        (tmp_path / name).touch()
    assert [file.name for file in find_compose_files(tmp_path)] == found


def test_what_a_service_is_made_from_is_read() -> None:
    text = json.dumps({"services": {"gateway": {"image": "x:1"}, "other": {"build": {"context": "."}}}})
    assert parse_service_config(text, "gateway") == ServiceConfig(image="x:1", is_built=False)
    assert parse_service_config(text, "other") == ServiceConfig(image="", is_built=True)
    assert parse_service_config(text, "third") is None
    assert parse_service_names(text) == ("gateway", "other")


def test_a_service_is_read_as_its_container_would_get_it() -> None:
    service = {
        "image": "x",
        "container_name": "theirs",
        "environment": {"PASSWORD": "pa$$w0rd", "UNSET": None, "EMPTY": "", "NUMBER": 5},
        "ports": [{"host_ip": "127.0.0.1", "published": "4002", "target": 4004}, {"published": "5900", "target": 5900}],
        "secrets": [{"source": "login"}, {"source": "file"}],
        "pull_policy": "always",
    }
    secrets = {"login": {"environment": "TWS_PASSWORD"}, "file": {"file": "/srv/x"}, "unused": {"environment": "Y"}}
    text = json.dumps({"name": "algo-trader", "services": {"gateway": service}, "secrets": secrets})
    found = parse_service_config(text, "gateway")
    assert found == ServiceConfig(
        project="algo-trader",
        image="x",
        is_built=False,
        container_name="theirs",
        environ={"PASSWORD": "pa$w0rd", "EMPTY": "", "NUMBER": "5"},
        ports=(
            PublishedPort(host_ip="127.0.0.1", published="4002", target=4004),
            PublishedPort(host_ip="", published="5900", target=5900),
        ),
        secret_variables=frozenset({"TWS_PASSWORD"}),
        may_pull=True,
    )
    assert "pa$w0rd" not in repr(found)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"services": null}', '{"services": {"gateway": null}}'])
def test_anything_else_is_not_taken_for_a_compose_file(text: str) -> None:
    with pytest.raises(ValueError, match="unexpected"):
        parse_service_config(text, "gateway")


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("Bind for 127.0.0.1:4002 failed: port is already allocated", "Another program holds port 4002"),
        ("listen tcp4 127.0.0.1:4002: bind: address already in use", "Another program holds port 4002"),
        ('The container name "/ibkr-gateway" is already in use by container', "Another container is called"),
        ("Error response from daemon: pull access denied for x", "check GATEWAY_IMAGE"),
        ("yaml: line 3: mapping values are not allowed", "Correct /srv/compose.yml"),
        ("no such service: gateway", "Correct GATEWAY_SERVICE"),
        ("write /var/lib/docker: no space left on device", "The disk is full"),
        ("Error response: minimum memory limit allowed is 6MB", "GATEWAY_MEMORY_LIMIT"),
        ("something unexpected", "Compose's own words"),
    ],
)
def test_composes_complaint_leads_to_advice(line: str, advice: str) -> None:
    lines = ("Container gateway  Creating", line)
    assert advice in advise_on_failure(lines, KNOWN)
