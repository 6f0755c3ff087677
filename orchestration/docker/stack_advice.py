"""Commands as they are typed beside the stack: from the host, where its containers are reached by `docker` alone.

Advice is written for a host on which `inv` manages everything. A container of the stack has no host to type that on: so
on its way out, each `inv` command in it becomes the command that does the same from outside. Pure.
"""

import re

from orchestration.settings import Settings

# Compose copies user and password into the gateway's container when it makes it: a corrected one takes a new container.
_LOGIN_VARIABLES = ("TWS_USERID", "TWS_PASSWORD")
_NEW_GATEWAY = "docker/stack up -d --force-recreate gateway"
_EXPANDED = (
    " (A plain `docker compose --env-file .env` changes a value that holds a `$`, unless it is in single quotes; "
    "`docker/stack` does not.)"
)
_COMMAND = re.compile(r"`(?:sudo )?(?:\S*/)?inv ([a-z.]+)([^`]*)`")


def name_stack_commands(text: str, settings: Settings) -> str:
    """The text with every `inv` command replaced, in a container of the stack; otherwise unchanged."""
    if not settings.in_stack:
        return text
    if any(name in text for name in _LOGIN_VARIABLES) and "`inv startup`" in text:
        text = text.replace("`inv startup`", f"`{_NEW_GATEWAY}` in the project folder")
        text += _EXPANDED
    return _COMMAND.sub(lambda found: f"`{_translate(found[1], found[2].split(), settings)}`", text)


def _translate(task: str, words: list[str], settings: Settings) -> str:
    bot, gateway = settings.bot_container_name, settings.gateway_container_name
    grace = round(settings.gateway_stop_grace_s)
    if task == "logs":
        follow = " -f" if {"-f", "--follow"} & set(words) else ""
        return f"docker logs{follow} {gateway if 'gateway' in words else bot}"
    of_containers = {
        "startup": f"docker restart {bot}",  # its entrypoint runs the whole validated sequence
        "shutdown": f"docker stop {bot}",
        "bot.start": f"docker start {bot}",
        "bot.stop": f"docker stop {bot}",
        "gateway.up": f"docker start {gateway}",
        "gateway.restart": f"docker restart -t {grace} {gateway}",
        "gateway.down": f"docker stop -t {grace} {gateway}",
    }
    return of_containers.get(task) or " ".join(["docker", "exec", bot, "inv", task, *words])
