"""The door to an etcd v3 cluster, through its JSON gateway: what a lease needs of it, and no more.

Each request goes to one member and ends within the time-out; after a failure the next request goes to the next member.
What is read is read linearizably (etcd's default), so a member that is cut off from the others gives no answer.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestration.redaction import clean_line
from orchestration.settings import Settings
from orchestration.system.clock import read_boottime_s

_WHY_CHARACTERS = 200
_ANSWER_BYTES = 1024 * 1024
_OK = 200
_UNAUTHENTICATED = (401, 400)


class EtcdError(Exception):
    """There was no usable answer. The text names the member and why, and holds no secret."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One key as it stands in the store.

    Attributes:
        value: Its value.
        create_revision: The store's revision at which it was created.
        mod_revision: The store's revision at which it was last written.
    """

    value: str
    create_revision: int
    mod_revision: int


@dataclass(frozen=True, kw_only=True)
class StoreResult:
    """What a read or a transaction gave.

    Attributes:
        revision: The store's revision.
        cluster: The id of the cluster.
        succeeded: Whether the transaction's comparisons all held; True for a read.
        rows: The rows that were read, by key.
    """

    revision: int
    cluster: str
    succeeded: bool
    rows: Mapping[str, Row]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One address of LEASE_ETCD.

    Attributes:
        endpoint: The address.
        problem: Why it cannot be used; empty where it can.
        version: Its version; empty where it gave no answer.
        is_leader: Whether it leads the cluster.
    """

    endpoint: str
    problem: str
    version: str = ""
    is_leader: bool = False


class Etcd:
    """A client. Not for use by several threads at once.

    Args:
        settings: The addresses, certificates and the user.
        timeout_s: Seconds that one request may take.
    """

    def __init__(self, settings: Settings, *, timeout_s: float) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._endpoints = list(settings.lease_etcd)
        self._token = ""
        import requests

        self._session = requests.Session()
        self._session.trust_env = False  # neither a proxy nor ~/.netrc of this user's
        if settings.lease_ca is not None:
            self._session.verify = str(settings.lease_ca)
        if settings.lease_cert is not None and settings.lease_key is not None:
            self._session.cert = (str(settings.lease_cert), str(settings.lease_key))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def grant(self, ttl_s: int) -> int:
        """Make a lease. Returns its id.

        Raises:
            EtcdError: There was no usable answer.
        """
        return _read_number(self._call("/v3/lease/grant", {"TTL": ttl_s}), "ID")

    def keep_alive(self, lease: int) -> int:
        """Renew a lease once. Returns its TTL in seconds; 0 for a lease that has expired.

        Raises:
            EtcdError: There was no usable answer.
        """
        answer = self._call("/v3/lease/keepalive", {"ID": lease})
        result = answer.get("result", answer)
        return _read_number(result if isinstance(result, dict) else {}, "TTL")

    def revoke(self, lease: int) -> None:
        """End a lease, and delete its keys.

        Raises:
            EtcdError: There was no usable answer, or there is no such lease.
        """
        self._call("/v3/lease/revoke", {"ID": lease})

    def read(self, prefix: str) -> StoreResult:
        """Every key that begins with the prefix, but for those that go on with `~`: they hold what is large.

        Raises:
            EtcdError: There was no usable answer.
        """
        answer = self._call("/v3/kv/range", _build_range(prefix))
        return _read_answer(answer, answer.get("kvs", []), succeeded=True)

    def read_one(self, key: str) -> str | None:
        """The value of one key; None where it is not there.

        Raises:
            EtcdError: There was no usable answer.
        """
        answer = self._call("/v3/kv/range", {"key": _encode(key)})
        row = _read_answer(answer, answer.get("kvs", []), succeeded=True).rows.get(key)
        return None if row is None else row.value

    def transact(self, compare: Sequence[Mapping[str, Any]], success: Sequence[Mapping[str, Any]]) -> StoreResult:
        """Do all of `success` if every comparison holds, else nothing. See `created_at`, `written_at`, `put`, `delete`.

        Raises:
            EtcdError: There was no usable answer; it may have been done all the same.
        """
        answer = self._call("/v3/kv/txn", {"compare": list(compare), "success": list(success)})
        rows = [row for one in answer.get("responses", []) for row in one.get("response_range", {}).get("kvs", [])]
        return _read_answer(answer, rows, succeeded=answer.get("succeeded") is True)

    def look_at_members(self) -> tuple[Member, ...]:
        """Ask each member for its state, one after the other."""
        found = []
        for endpoint in self._settings.lease_etcd:
            try:
                answer = self._ask(endpoint, "/v3/maintenance/status", {})
                header = answer.get("header", {})
                leader = str(answer.get("leader", "0"))
                problem = "" if leader not in {"", "0"} else "it knows no leader: there is no quorum"
                is_leader = leader == str(header.get("member_id", ""))
                version = str(answer.get("version", ""))
                found.append(Member(endpoint=endpoint, problem=problem, version=version, is_leader=is_leader))
            except EtcdError as error:
                found.append(Member(endpoint=endpoint, problem=str(error)))
        return tuple(found)

    def _call(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        endpoint = self._endpoints[0]
        try:
            return self._ask(endpoint, path, document)
        except EtcdError:
            self._endpoints.append(self._endpoints.pop(0))
            raise

    def _ask(self, endpoint: str, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        password = self._settings.lease_password
        if password is not None and not self._token:
            login = {"name": self._settings.lease_user, "password": password.reveal()}
            answer = self._post(endpoint, "/v3/auth/authenticate", login)
            self._token = str(answer.get("token", ""))
        return self._post(endpoint, path, document)

    def _post(self, endpoint: str, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        import requests
        import urllib3.exceptions

        began_s = read_boottime_s()
        headers = {"Authorization": self._token} if self._token else {}
        try:
            with self._session.post(
                endpoint + path,
                data=json.dumps(document),
                headers=headers,
                timeout=(self._timeout_s / 2, self._timeout_s / 2),
                allow_redirects=False,
                stream=True,
            ) as reply:
                content = reply.raw.read(_ANSWER_BYTES, decode_content=True)
                status = reply.status_code
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            # Of the library's texts only the kind: they repeat addresses and objects of the library.
            raise EtcdError(f"{endpoint} gives no answer ({type(error).__name__})") from None
        if read_boottime_s() - began_s > self._timeout_s:
            raise EtcdError(f"{endpoint} took longer than {self._timeout_s:g} s")
        if status in _UNAUTHENTICATED:
            self._token = ""  # it may have expired: the next request asks for a new one
        return _judge(endpoint, status, content)


def created_at(key: str, revision: int) -> dict[str, Any]:
    """A comparison: the key was created at this revision; 0 for a key that is not there."""
    return {"key": _encode(key), "target": "CREATE", "result": "EQUAL", "create_revision": str(revision)}


def written_at(key: str, revision: int) -> dict[str, Any]:
    """A comparison: the key was last written at this revision; 0 for a key that is not there."""
    return {"key": _encode(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def put(key: str, value: str, *, lease: int = 0) -> dict[str, Any]:
    """Write a key; with a lease it is deleted when that ends."""
    fields = {"key": _encode(key), "value": _encode(value)}
    return {"request_put": fields | ({"lease": str(lease)} if lease else {})}


def delete(key: str) -> dict[str, Any]:
    """Delete a key."""
    return {"request_delete_range": {"key": _encode(key)}}


def get_all(prefix: str) -> dict[str, Any]:
    """Read what `Etcd.read` reads."""
    return {"request_range": _build_range(prefix)}


def _build_range(prefix: str) -> dict[str, str]:
    return {"key": _encode(prefix), "range_end": _encode(f"{prefix}~")}


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _decode(text: object) -> str:
    return base64.b64decode(str(text)).decode("utf-8", "replace")


def _judge(endpoint: str, status: int, content: bytes) -> dict[str, Any]:
    answer = _read_object(content)
    if status != _OK:
        # Some refusals of its gateway are no JSON: that it takes no client certificate with a common name, say.
        text = content.decode("utf-8", "replace") if answer is None else answer.get("message") or answer.get("error")
        raise EtcdError(f"{endpoint} refuses: {clean_line(str(text or f'status {status}'), limit=_WHY_CHARACTERS)}")
    if answer is None:
        raise EtcdError(f"{endpoint} does not answer like etcd v3")
    return answer


def _read_object(content: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(content)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _read_number(fields: Mapping[str, Any], name: str) -> int:
    try:
        return int(fields.get(name, 0))
    except (TypeError, ValueError):
        raise EtcdError(f"the answer's {name} is no number") from None


def _read_answer(answer: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, succeeded: bool) -> StoreResult:
    try:
        header = answer["header"]
        found = {
            _decode(row["key"]): Row(
                value=_decode(row.get("value", "")),
                create_revision=int(row["create_revision"]),
                mod_revision=int(row["mod_revision"]),
            )
            for row in rows
        }
        return StoreResult(
            revision=int(header["revision"]), cluster=str(header["cluster_id"]), succeeded=succeeded, rows=found
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise EtcdError("the answer is not one of etcd v3") from None
