"""The page of what each client gets for each of its requests, from the recordings of all of them."""

import json
from dataclasses import dataclass
from typing import Any

from orchestration.tws.messages import Request
from tests.system import PROJECT

REQUESTS = PROJECT / "tests/fixtures/tws_requests"
PAGE = PROJECT / "docs/reference/clients.md"
_NOTICE = "error 10167"  # delayed data follow
_HEAD = """# Clients and their requests

What the built-in gateway ([Simulator](simulator.md)) answers to every request of other people's clients: recorded with
the packages from PyPI and npm by `python -m tests.clients`, which also writes this page. A test holds the gateway to
these recordings. Each answer was complete within a second.

- **answered**: the client's callbacks of the third column were called
- **a number**: the error with this code, as a gateway says it that has no subscriptions and takes no orders
- **obeyed**: nothing is due: an end, or a setting
- **itself**: the client refuses, or cannot form, the request at the version agreed on, and sends nothing
- **none**: the client has no such request

"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request of one client.

    Attributes:
        client: The client's name.
        version: The version agreed on.
        method: The client's method.
        sent: The messages that it sent.
        received: The numbers of the messages that were its answer.
        heard: The callbacks that it called then, and errors.
    """

    client: str
    version: int
    method: str
    sent: tuple[bytes, ...]
    received: tuple[str, ...]
    heard: tuple[str, ...]

    @property
    def number(self) -> int | None:
        """The message's number; None if nothing was sent."""
        return int(self.sent[0].partition(b"\0")[0]) if self.sent else None

    @property
    def outcome(self) -> str:
        """What it came to, in a word."""
        if not self.sent:
            return "itself"
        codes = [one.removeprefix("error ") for one in self.heard if one.startswith("error ") and one != _NOTICE]
        if codes:
            return ", ".join(codes)
        return "answered" if self.heard else "obeyed"


def read_asked() -> list[Asked]:
    """Every recorded request of every client."""
    found = []
    for path in sorted(REQUESTS.glob("*.json")):
        recording: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found += [
            Asked(
                client=path.stem,
                version=recording["version"],
                method=method,
                sent=tuple(body.encode("latin-1") for body in one["sent"]),
                received=tuple(one["received"]),
                heard=tuple(one["heard"]),
            )
            for method, one in recording["requests"].items()
        ]
    return found


def build_rows(asked: list[Asked]) -> dict[str, list[Asked]]:
    """The requests that mean the same, in the order of their numbers, by a name; what is never sent comes last."""
    numbers = {one.method.lower(): one.number for one in asked if one.number is not None}
    rows: dict[tuple[int, str], list[Asked]] = {}
    for one in asked:
        number = one.number or numbers.get(one.method.lower())
        key = (number, Request(number).name.lower()) if number else (1000, one.method)
        rows.setdefault(key, []).append(one)
    return {f"{number} {name}" if number < 1000 else name: rows[number, name] for number, name in sorted(rows)}


def build_page(asked: list[Asked]) -> str:
    """The whole page."""
    clients = sorted({one.client for one in asked})
    versions = {one.client: one.version for one in asked}
    lines = [
        "| request | method | callbacks | " + " | ".join(f"{one} (v{versions[one]})" for one in clients) + " |",
        "|---" * (len(clients) + 3) + "|",
    ]
    for name, row in build_rows(asked).items():
        cells = {one.client: one.outcome for one in row}
        callbacks = next((one.heard for one in row if one.outcome == "answered" and "ibapi-10" in one.client), ())
        shown = ", ".join(f"`{one}`" for one in callbacks if not one.startswith("error")) or "none"
        method = next((one.method for one in row if one.client == "ibapi-10.51.1"), row[0].method)
        lines.append(
            f"| {name} | `{method}` | {shown} | " + " | ".join(cells.get(one, "none") for one in clients) + " |"
        )
    return _HEAD + "\n".join(lines) + "\n"
