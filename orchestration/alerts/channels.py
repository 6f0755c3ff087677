"""The kinds of channels there are, and the ones that a configuration names. A new kind is one more row here."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestration.alerts.alert import parse_level
from orchestration.alerts.apprise import build_apprise_channels
from orchestration.alerts.channel import Channel, ChannelProblems, channel_problem
from orchestration.alerts.discord import DiscordChannel
from orchestration.alerts.outbox import Waiting
from orchestration.settings import Settings

NO_CHANNEL = "no alert channel: neither DISCORD_WEBHOOK_URL nor ALERT_URLS is set, alerts are only logged"


def _build_discord(settings: Settings) -> Iterable[Channel]:
    webhook = settings.discord_webhook_url
    if webhook is not None and webhook.reveal().strip():
        least, skips_progress = parse_level(settings.alert_level)
        mention = settings.discord_mention
        yield DiscordChannel(webhook=webhook, mention=mention, least=least, skips_progress=skips_progress)


def _build_apprise(settings: Settings) -> Iterable[Channel]:
    return build_apprise_channels(settings.alert_urls, settings.alert_level)


# In the order in which they are shown.
_KINDS: tuple[Callable[[Settings], Iterable[Channel]], ...] = (_build_discord, _build_apprise)


def build_channels(settings: Settings) -> tuple[Channel, ...]:
    """The channels that the settings name, those with a malformed address included."""
    return tuple(channel for kind in _KINDS for channel in kind(settings))


@dataclass(frozen=True, kw_only=True)
class ChannelState:
    """What is known of a channel without asking it.

    Attributes:
        name: What it is called in front of people, without its address.
        setting: The variable that its address stands in.
        problem: Why alerts do not reach the operator this way; None if they should.
        waiting: How many alerts wait for it.
    """

    name: str
    setting: str
    problem: str | None
    waiting: int


class ChannelRecords(ChannelProblems, Protocol):
    """The part of the journal, or of its reader, that knows what waits for which channel."""

    def read_pending_alerts(self, channel: str | None = None) -> Sequence[Waiting]:
        """What waits for the channel."""
        ...


def read_channel_states(journal: ChannelRecords, channels: Iterable[Channel]) -> tuple[ChannelState, ...]:
    """What is known of each channel."""
    return tuple(
        ChannelState(
            name=channel.name,
            setting=channel.setting,
            problem=channel_problem(journal, channel),
            waiting=len(journal.read_pending_alerts(channel.id)),
        )
        for channel in channels
    )


def describe_channel_problems(states: Sequence[ChannelState]) -> str | None:
    """Why alerts do not reach the operator, or not by every way that is configured; None if they should."""
    if not states:
        return NO_CHANNEL
    named = len(states) > 1
    return "; ".join(f"{one.name}: {one.problem}" if named else one.problem for one in states if one.problem) or None
