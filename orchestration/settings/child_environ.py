"""The environments of the programs that this one starts: a secret goes only where it is needed. Pure.

The environment of a process can be read in `/proc/PID/environ` by every process of the same user, for as long as it
lives.
"""

from collections.abc import Iterable, Mapping

from orchestration.settings.image_variables import secret_names
from orchestration.settings.variables import ENV_FILE, variables_by_field

# What any program needs of its surroundings: where programs, libraries and certificates are, who runs it, in which
# language and time zone it speaks, and through which proxy it reaches the internet.
_OF_SYSTEM = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TZDIR", "TMPDIR", "VIRTUAL_ENV"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "OPENSSL_CONF"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    }
)
_PREFIXES_OF_SYSTEM = ("LC_", "LD_", "PYTHON")


def list_secret_names() -> frozenset[str]:
    """The variables whose value is a secret: this program's own, and those of the vendor's image."""
    return frozenset(variable.name for variable in variables_by_field().values() if variable.secret) | secret_names()


def drop_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without the secrets, for a program that needs none of them."""
    withheld = list_secret_names()
    return {name: value for name, value in environ.items() if name not in withheld}


def select_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """The secrets of an environment, for a program that fills in an operator's own files with them."""
    return {name: value for name, value in environ.items() if name in list_secret_names()}


def build_own_environ(environ: Mapping[str, str], *, needed_secrets: Iterable[str]) -> dict[str, str]:
    """The environment of a part of this program that runs as a process of its own: an allow-list.

    Args:
        environ: This process's environment.
        needed_secrets: The secret variables that it needs; their `NAME_FILE` passes too.

    Returns:
        What belongs to the system, the settings that are not secret, and those secrets.
    """
    needed = frozenset(needed_secrets)
    allowed = _OF_SYSTEM | {ENV_FILE} | {name.lower() for name in _OF_SYSTEM if name.endswith("_PROXY")}
    allowed |= {variable.name for variable in variables_by_field().values() if not variable.secret}
    allowed |= needed | {f"{name}_FILE" for name in needed}
    return {name: value for name, value in environ.items() if name in allowed or name.startswith(_PREFIXES_OF_SYSTEM)}
