"""Every scene, in the order in which they are measured."""

from benchmarks.boot import explain_no_host, measure_boot
from benchmarks.cost import measure_size, measure_waiting
from benchmarks.deaths import measure_alerts
from benchmarks.deploys import measure_deploys
from benchmarks.fencing import explain_no_fence, measure_fence
from benchmarks.guard import measure_guard
from benchmarks.idle import measure_idle
from benchmarks.instances import measure_instances
from benchmarks.scale import measure_scale
from benchmarks.scenes import Part, Scene, measure_list, measure_reaction, measure_status, measure_warm_start
from benchmarks.views import measure_crowd, measure_page, measure_status_with_money

SCENES = (
    Scene(
        name="warm-docker",
        title="the gateway's container is up and healthy; the whole command until the bot said READY",
        measure=measure_warm_start,
        needs_engine=True,
    ),
    Scene(
        name="warm-external",
        title="the same with a gateway that is run from outside",
        measure=measure_warm_start,
    ),
    Scene(
        name="reaction-docker",
        title="a late login in a container; from healthy to the bot launched",
        measure=measure_reaction,
        needs_engine=True,
    ),
    Scene(
        name="reaction-external",
        title="a late login of a gateway that is run from outside; from the API open to the bot launched",
        measure=measure_reaction,
    ),
    Scene(name="list", title="what the shell's completion and a look at the commands cost", measure=measure_list),
    Scene(
        name="status-docker", title="`inv status`, gateway in a container", measure=measure_status, needs_engine=True
    ),
    Scene(name="status-simulator", title="`inv status`, built-in gateway", measure=measure_status),
    Scene(
        name="waiting-docker",
        title="what waiting for a container's login costs",
        measure=measure_waiting,
        needs_engine=True,
    ),
    Scene(name="waiting-external", title="what asking an API again and again costs", measure=measure_waiting),
    Scene(name="size", title="what an installation takes on disk", measure=measure_size),
    Scene(
        name="alert-docker",
        title="a death under supervision, gateway in a container; from the kill to the alert at the channel",
        measure=measure_alerts,
        needs_engine=True,
        part=Part.WATCH,
    ),
    Scene(
        name="alert-simulator",
        title="the same with the built-in gateway",
        measure=measure_alerts,
        part=Part.WATCH,
    ),
    Scene(
        name="fence",
        title="the lease's deadline passes, the supervisor stopped; from the deadline to the end of the bot",
        measure=measure_fence,
        part=Part.WATCH,
        explain_why_not=explain_no_fence,
    ),
    Scene(
        name="idle",
        title="what supervisors cost while nothing happens",
        measure=measure_idle,
        part=Part.WATCH,
    ),
    Scene(
        name="boot",
        title="a whole host is switched on; from power on to the bot",
        measure=measure_boot,
        part=Part.WATCH,
        explain_why_not=explain_no_host,
    ),
    Scene(
        name="instances",
        title="twenty instances on one gateway against one alone",
        measure=measure_instances,
        part=Part.INSTANCES,
    ),
    Scene(
        name="deploy",
        title="a whole host is deployed to over SSH, by `fab` and by pyinfra",
        measure=measure_deploys,
        part=Part.DEPLOY,
        explain_why_not=explain_no_host,
    ),
    Scene(
        name="journal",
        title="status, history and report on a journal of a million events against one of a thousand",
        measure=measure_scale,
        part=Part.JOURNAL,
    ),
    Scene(
        name="guard",
        title="a request on Strategy C, directly and through the order guard",
        measure=measure_guard,
        part=Part.GUARD,
    ),
    Scene(
        name="page",
        title="what the live page costs a supervisor",
        measure=measure_page,
        part=Part.VIEWS,
    ),
    Scene(
        name="page-crowd",
        title="a thousand clients at the live page; from a bot's death to the alert",
        measure=measure_crowd,
        part=Part.VIEWS,
    ),
    Scene(
        name="status-money",
        title="`inv status` with 4 positions and 100 orders against the same without reading any",
        measure=measure_status_with_money,
        part=Part.VIEWS,
    ),
)
