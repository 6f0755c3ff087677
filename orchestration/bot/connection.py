"""Does the bot hold a connection to its gateway? A bot that lives is not yet one that can trade.

Any process of the bot counts. Looked for is an established connection to the port that the bot was told of, on whatever
address; what cannot be seen from here is unknown, and never taken for "no".
"""

from orchestration.bot.container_processes import is_in_container, read_container_pids
from orchestration.bot.members import find_members
from orchestration.bot.record import BotRecord
from orchestration.settings import Settings
from orchestration.system.sockets import holds_connection, is_network_connected


def read_connection(settings: Settings, record: BotRecord) -> bool | None:
    """Whether the bot holds a connection to the gateway's API now; None if that is unknown."""
    if settings.watched_state_dir is not None:
        return None
    port = record.gateway_port or settings.gateway_port
    if record.container:
        return _read_of_container(record, port)
    return holds_connection([one.pid for one in find_members(settings, record)], port)


def _read_of_container(record: BotRecord, port: int) -> bool | None:
    container_id = record.birth.partition(":")[0]
    if not is_in_container(record.pid, container_id):
        return None  # of an engine whose processes have no numbers here
    found = holds_connection(read_container_pids(container_id), port)
    return is_network_connected(record.pid, port) if found is None else found
