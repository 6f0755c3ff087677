"""What Docker prints about a container, and what it means."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestration.docker.container import ContainerState, merge_streams, parse_instant
from orchestration.gateway.container import GatewayStatus, Health, parse_inspect


def raw(**state: Any) -> dict[str, Any]:  # noqa: ANN401 - a JSON document's fields
    """What Engine 26.1 prints, without what is not read."""
    return {
        "Id": "f7ee363fb71b",
        "Name": "/ibkr-gateway",
        "RestartCount": 3,
        "State": {
            "Status": "running",
            "OOMKilled": False,
            "ExitCode": 0,
            "Error": "",
            "StartedAt": "2026-11-21T03:47:22.382909827Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
            **state,
        },
        "Config": {
            "Image": "ghcr.io/gnzsnz/ib-gateway:stable",
            "Labels": {"com.docker.compose.project": "ibkr-gateway", "com.docker.compose.service": "gateway"},
        },
        "HostConfig": {"PortBindings": {"4004/tcp": [{"HostIp": "127.0.0.1", "HostPort": "4002"}], "5900/tcp": None}},
        "NetworkSettings": {"Networks": {"ibkr-gateway_default": {}}},
    }


def parse(**state: Any) -> GatewayStatus:  # noqa: ANN401 - as above
    (status,) = parse_inspect(json.dumps([raw(**state)]))
    return status


def test_a_running_container_is_read_in_full() -> None:
    log = [{"ExitCode": 1, "Output": "connect:\n refused\n"}, {"ExitCode": 0, "Output": ""}]
    status = parse(Health={"Status": "healthy", "FailingStreak": 0, "Log": log})
    assert status == GatewayStatus(
        state=ContainerState.RUNNING,
        health=Health.HEALTHY,
        id="f7ee363fb71b",
        name="ibkr-gateway",
        image="ghcr.io/gnzsnz/ib-gateway:stable",
        started_at=datetime(2026, 11, 21, 3, 47, 22, 382909, tzinfo=UTC),
        restart_count=3,
        health_log=("health check ended with 1: connect: refused", "health check ended with 0"),
        compose_project="ibkr-gateway",
        inner_ports=((4002, 4004),),
        networks=("ibkr-gateway_default",),
    )


@pytest.mark.parametrize(
    ("word", "state"),
    [
        *((word, ContainerState(word)) for word in ("created", "running", "paused", "restarting", "exited", "dead")),
        ("removing", ContainerState.DEAD),
        ("levitating", ContainerState.UNKNOWN),
    ],
)
def test_dockers_word_for_a_state_is_known(word: str, state: ContainerState) -> None:
    assert parse(Status=word).state is state


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ({}, Health.NONE),
        ({"Status": "none"}, Health.NONE),
        ({"Status": "starting", "FailingStreak": 3}, Health.STARTING),
        ({"Status": "healthy", "FailingStreak": 0}, Health.HEALTHY),
        ({"Status": "unhealthy", "FailingStreak": 2}, Health.UNHEALTHY),
        ({"Status": "unhealthy", "FailingStreak": 0}, Health.STARTING),  # paused and unpaused; nothing has failed
    ],
)
def test_health_is_what_the_checks_say(health: dict[str, Any], expected: Health) -> None:
    assert parse(Health=health).health is expected


def test_a_container_that_ended_has_an_exit_code_and_a_reason() -> None:
    status = parse(Status="exited", ExitCode=137, OOMKilled=True, Error="no such file", Health=None)
    assert (status.exit_code, status.out_of_memory, status.error) == (137, True, "no such file")
    assert str(status) == "exited with code 137"
    assert parse().exit_code is None


def test_a_simulated_image_says_so() -> None:
    one = raw()
    one["Config"]["Labels"] = {"zero-touch.simulated": "yes"}
    assert parse_inspect(json.dumps([one]))[0].is_simulated
    one["Config"]["Labels"] = None
    assert not parse_inspect(json.dumps([one]))[0].is_simulated


@pytest.mark.parametrize("text", ["", "{}x", "[1]", '[{"Id": "x"}]', "null", '[{"State": null}]'])
def test_anything_else_is_not_taken_for_a_container(text: str) -> None:
    with pytest.raises(ValueError, match="unexpected"):
        parse_inspect(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T03:47:22.382909827Z", datetime(2026, 11, 21, 3, 47, 22, 382909, tzinfo=UTC)),
        ("2026-11-21T03:47:22Z", datetime(2026, 11, 21, 3, 47, 22, tzinfo=UTC)),
        ("2026-11-21T04:47:22.5+01:00", datetime(2026, 11, 21, 3, 47, 22, 500000, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
        ("2026-13-21T03:47:22Z", None),
    ],
)
def test_dockers_time_stamps_are_read(text: str, expected: datetime | None) -> None:
    assert parse_instant(text) == expected


START = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("started_at", "finished_at", "since"),
    [
        (None, None, None),
        (START, None, None),  # the first start: everything
        (START, START - timedelta(hours=1), START - timedelta(milliseconds=250)),
        (START, START - timedelta(milliseconds=100), START - timedelta(milliseconds=50)),
        (START, START + timedelta(seconds=1), START - timedelta(milliseconds=50)),  # it has ended
    ],
)
def test_the_log_of_a_start_begins_between_the_last_end_and_that_start(
    started_at: datetime | None, finished_at: datetime | None, since: datetime | None
) -> None:
    status = GatewayStatus(state=ContainerState.RUNNING, started_at=started_at, finished_at=finished_at)
    assert status.log_since == since


def test_two_streams_become_one_in_the_order_of_time() -> None:
    out = "2026-11-21T03:00:01.5Z one\n2026-11-21T03:00:03.000000001Z three\n"
    err = "2026-11-21T03:00:02Z two\nno stamp at all\n"
    assert merge_streams(out, err) == ("no stamp at all", "one", "two", "three")
