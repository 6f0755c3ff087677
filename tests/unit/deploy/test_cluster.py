"""A release comes to the hosts of one instance: who first, and what happens where it is not good."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from orchestration.deploy.cluster import Order, Part, Turn, find_order, perform_in_order, read_part
from orchestration.deploy.connection import RemoteResult
from orchestration.deploy.errors import DeployError
from orchestration.deploy.host import Host
from orchestration.deploy.workflow import Workflow
from tests.fakes.clock import FakeClock
from tests.fakes.remote import FakeRemote
from tests.unit.deploy.test_deploy import facts


def part(host: str, role: str, *, holder: str = "", is_good: bool = True) -> Part:
    return Part(instance="default", host=host, role=role, holder=holder, is_good=is_good, message=f"{host} is {role}")


def test_the_hosts_that_stand_by_come_first() -> None:
    parts = [part("a", "leading"), part("b", "standby", holder="a"), part("c", "standby", holder="a")]

    assert find_order(parts) == Order(standbys=(1, 2), leader=0)


@pytest.mark.parametrize("alone", [part("a", "leading"), part("a", "standby")])
def test_one_host_alone_needs_no_order(alone: Part) -> None:
    assert find_order([alone]) is None


def test_hosts_of_which_none_leads_need_no_order() -> None:
    assert find_order([part("a", "standby"), part("b", "standby")]) is None


@pytest.mark.parametrize(
    "other",
    [
        part("b", "standby", holder="a", is_good=False),
        part("b", "lost"),
        part("b", "waiting"),
        part("b", "", is_good=False),
    ],
)
def test_without_a_standby_that_is_ready_nothing_is_touched_and_it_is_named(other: Part) -> None:
    with pytest.raises(DeployError) as refused:
        find_order([part("a", "leading"), other])

    assert "nothing was touched" in refused.value.message
    assert refused.value.evidence == (f"b: b is {other.role}",)


@dataclass
class Cluster:
    """Hosts `a` and `b`, and who of them leads; a release starts or does not.

    Attributes:
        leader: Who leads.
        comes_up: Whether the release that is deployed starts.
        can_fail_over: Whether `inv failover` works.
        comes_back_by_itself: Whether the host that led leads again where a start has failed.
        refuses: The host on which a deploy fails.
        releases: Each host's release.
        events: What was done, in order.
    """

    leader: str = "a"
    comes_up: bool = True
    can_fail_over: bool = True
    comes_back_by_itself: bool = True
    refuses: str = ""
    releases: dict[str, str] = field(default_factory=lambda: {"a": "old", "b": "old"})
    events: list[str] = field(default_factory=list)

    def look(self, host: str) -> dict[str, object]:
        is_up = self.releases[self.leader] == "old" or self.comes_up
        role = "leading" if host == self.leader else "standby"
        code = 5 if role == "standby" else 0 if is_up else 1
        lease = {"host": host, "role": role, "holder": self.leader}
        document = {"instance": "default", "lease": lease, "message": f"{host}: {role}"}
        return facts(status={"code": code, "document": document, "lines": []})

    def fail_over(self, host: str, *words: str) -> tuple[int, str]:
        assert host == self.leader
        assert words[0] == "failover"
        to = words[1].removeprefix("--to=")
        self.events.append(f"{host}: failover to {to}")
        if not self.can_fail_over:
            return 1, "No host has taken over"
        self.leader = to
        if self.releases[to] == "new" and not self.comes_up and self.comes_back_by_itself:
            self.leader = host
        return 0, ""

    def turn(self, host: str) -> Turn:
        remote = _LookingRemote(name=host, on_inv=lambda *words: self.fail_over(host, *words), on_look=self.look)
        work = Workflow(
            Host(remote=remote, base="/opt/zero-touch", user="zero-touch"),
            "deploy",
            clock=FakeClock(),
            on_step=lambda _: None,
        )

        def act() -> None:
            self.events.append(f"{host}: deploy")
            work.outcome.ok = host != self.refuses
            work.outcome.result = "deployed" if work.outcome.ok else "went_back"
            work.outcome.message = "done" if work.outcome.ok else "the packages are missing"
            if work.outcome.ok:
                self.releases[host] = "new"

        def undo() -> None:
            self.events.append(f"{host}: undo")
            self.releases[host] = "old"
            work.outcome.ok, work.outcome.result, work.outcome.message = True, "rolled_back", "old stands by"

        role = "leading" if host == self.leader else "standby"
        return Turn(
            work=work,
            part=part(host, role, holder=self.leader),
            commit=self.releases[host],
            act=act,
            undo=undo,
        )


@dataclass
class _LookingRemote(FakeRemote):
    on_look: Callable[[str], dict[str, object]] | None = None

    def run(
        self, argv: Sequence[str], *, stdin: bytes | None, on_line: Callable[[str], None], timeout_s: float
    ) -> RemoteResult:
        if self.on_look is not None:
            self.answers["look"] = [[{"result": self.on_look(self.name)}]]
        return super().run(argv, stdin=stdin, on_line=on_line, timeout_s=timeout_s)


def deploy(cluster: Cluster) -> dict[str, Workflow]:
    turns = [cluster.turn("a"), cluster.turn("b")]
    perform_in_order(turns, Order(standbys=(1,), leader=0), timeout_s=60, clock=FakeClock())
    return {turn.work.host.name: turn.work for turn in turns}


def test_a_good_release_is_validated_by_a_planned_fail_over_before_the_leader_gets_it() -> None:
    cluster = Cluster()
    works = deploy(cluster)

    assert cluster.events == ["b: deploy", "a: failover to b", "a: deploy"]
    assert [works[host].outcome.ok for host in "ab"] == [True, True]
    assert "validated after a planned fail-over" in works["b"].outcome.message
    assert [step.name for step in works["a"].outcome.steps] == ["fail-over"]
    assert cluster.leader == "b"


@pytest.mark.parametrize("comes_back_by_itself", [True, False])
def test_a_release_that_does_not_start_goes_back_and_never_reaches_the_host_that_led(
    comes_back_by_itself: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    cluster = Cluster(comes_up=False, comes_back_by_itself=comes_back_by_itself)
    works = deploy(cluster)

    assert "a: deploy" not in cluster.events
    assert cluster.events[-1] == "b: undo"
    assert (cluster.leader, cluster.releases) == ("a", {"a": "old", "b": "old"})
    assert [(works[host].outcome.ok, works[host].outcome.result) for host in "ab"] == [
        (False, "kept"),
        (False, "went_back"),
    ]
    assert "did not come up after the fail-over" in works["b"].outcome.message
    assert "was not touched" in works["a"].outcome.message


def test_a_fail_over_that_no_host_takes_leaves_the_leader_alone() -> None:
    cluster = Cluster(can_fail_over=False)
    works = deploy(cluster)

    assert cluster.events == ["b: deploy", "a: failover to b", "b: undo"]
    assert works["a"].outcome.result == "kept"
    assert "the planned fail-over to b failed" in works["b"].outcome.message
    assert "No host has taken over" in works["b"].outcome.evidence


def test_a_standby_that_does_not_take_the_release_stops_everything() -> None:
    cluster = Cluster(refuses="b")
    works = deploy(cluster)

    assert cluster.events == ["b: deploy"]
    assert (works["a"].outcome.ok, works["a"].outcome.result) == (False, "kept")
    assert "b did not take the release" in works["a"].outcome.message


def test_where_a_second_standby_does_not_take_the_release_the_first_one_goes_back() -> None:
    cluster = Cluster(refuses="c", releases=dict.fromkeys("abc", "old"))
    turns = [cluster.turn(host) for host in "abc"]
    perform_in_order(turns, Order(standbys=(1, 2), leader=0), timeout_s=60, clock=FakeClock())

    assert cluster.events == ["b: deploy", "c: deploy", "b: undo"]
    assert [(turn.work.outcome.ok, turn.work.outcome.result) for turn in turns] == [
        (False, "kept"),
        (False, "went_back"),
        (False, "went_back"),
    ]
    assert cluster.releases["b"] == "old"


@pytest.mark.parametrize(
    ("standbys_release", "events"), [("new", ["a: failover to b", "a: deploy"]), ("old", ["a: deploy"])]
)
def test_a_standby_that_has_the_release_already_is_validated_before_the_leader_gets_it(
    standbys_release: str, events: list[str]
) -> None:
    cluster = Cluster(releases={"a": "old", "b": standbys_release})
    leader, standby = cluster.turn("a"), cluster.turn("b")
    standby = dataclasses.replace(standby, act=lambda: _say_nothing_new(standby.work))
    perform_in_order([leader, standby], Order(standbys=(1,), leader=0), timeout_s=60, clock=FakeClock())

    assert cluster.events == events


def _say_nothing_new(work: Workflow) -> None:
    work.outcome.ok, work.outcome.result = True, "nothing_new"


def test_a_part_is_read_from_what_inv_status_says() -> None:
    host = Host(remote=_LookingRemote(name="b", on_look=Cluster().look), base="/opt/zero-touch", user="zero-touch")

    found = read_part(host.look(status=True))
    assert found is not None
    assert (found.instance, found.host, found.role, found.holder, found.is_good) == (
        *("default", "b", "standby", "a"),
        True,
    )


def test_a_host_without_a_lease_has_no_part() -> None:
    remote = FakeRemote()
    remote.expect("look", {"result": facts(status={"code": 0, "document": {"lease": None}, "lines": []})})

    assert read_part(Host(remote=remote, base="/opt/zero-touch", user="zero-touch").look(status=True)) is None


class _InterruptedCluster(Cluster):
    def fail_over(self, host: str, *words: str) -> tuple[int, str]:
        super().fail_over(host, *words)
        raise KeyboardInterrupt


def test_a_fail_over_that_is_interrupted_here_may_be_half_done_and_the_standby_keeps_its_release() -> None:
    cluster = _InterruptedCluster()
    turns = [cluster.turn("a"), cluster.turn("b")]
    with pytest.raises(KeyboardInterrupt):
        perform_in_order(turns, Order(standbys=(1,), leader=0), timeout_s=60, clock=FakeClock())
    for turn in turns:
        turn.work.explain_interrupt()
    leader, standby = (turn.work.outcome for turn in turns)
    assert (standby.ok, standby.result, standby.message) == (True, "deployed", "done; interrupted here after that")
    assert (leader.ok, leader.result, leader.next_action) == (False, "interrupted", "fab -H a status")
    assert "may be half done" in leader.message
