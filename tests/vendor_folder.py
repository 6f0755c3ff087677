"""The Compose folder that users of the vendor's image have, generated from tables of what its maker publishes.

Source: repository gnzsnz/ib-gateway-docker, `docker-compose.yml` at commit a65e785fee2eee8fe5f32643e160ca80644cdace and
`.env-dist` at commit 647aefc707bd6b303bd6deddcd4f945ce2a9b86d (MIT licence). The files are not copied: names, defaults,
ports and the shape (`name:`, `build:` beside `image:`, `restart: always`) are facts, and the text here is our own.
"""

from pathlib import Path

SERVICE = "ib-gateway"

# What the service's `environment:` sets, each from the variable of the same name, with the default after `:-`. None is
# one without a default.
IN_SERVICE: dict[str, str | None] = {
    "TWS_USERID": None,
    "TWS_PASSWORD": None,
    "TRADING_MODE": "paper",
    "TWS_USERID_PAPER": "",
    "TWS_PASSWORD_PAPER": "",
    "TWS_SETTINGS_PATH": "",
    "TWS_ACCEPT_INCOMING": "manual",
    "READ_ONLY_API": "",
    "VNC_SERVER_PASSWORD": "",
    "TWOFA_TIMEOUT_ACTION": "exit",
    "BYPASS_WARNING": "",
    "AUTO_RESTART_TIME": "",
    "AUTO_LOGOFF_TIME": "",
    "TWS_COLD_RESTART": "",
    "SAVE_TWS_SETTINGS": "",
    "RELOGIN_AFTER_TWOFA_TIMEOUT": "no",
    "TWOFA_EXIT_INTERVAL": "60",
    "TWOFA_DEVICE": "",
    "EXISTING_SESSION_DETECTED_ACTION": "primary",
    "ALLOW_BLIND_TRADING": "no",
    "TIME_ZONE": "Etc/UTC",
    "CUSTOM_CONFIG": "NO",
    "JAVA_HEAP_SIZE": "",
    "SSH_TUNNEL": "",
    "SSH_OPTIONS": "",
    "SSH_ALIVE_INTERVAL": "",
    "SSH_ALIVE_COUNT": "",
    "SSH_PASSPHRASE": "",
    "SSH_REMOTE_PORT": "",
    "SSH_USER_TUNNEL": "",
    "SSH_RESTART": "",
    "SSH_VNC_PORT": "",
}

# What the file of settings sets as it is published.
IN_ENV_FILE: dict[str, str] = {
    "TWS_USERID": "myTwsAccountName",
    "TWS_PASSWORD": "myTwsPassword",
    "TIME_ZONE": "Europe/Zurich",
    "TWS_SETTINGS_PATH": "",
    "TRADING_MODE": "paper",
    "READ_ONLY_API": "no",
    "TWOFA_TIMEOUT_ACTION": "restart",
    "TWOFA_EXIT_INTERVAL": "",
    "TWOFA_DEVICE": "",
    "BYPASS_WARNING": "",
    "AUTO_RESTART_TIME": "11:59 PM",
    "AUTO_LOGOFF_TIME": "",
    "TWS_COLD_RESTART": "",
    "TWS_ACCEPT_INCOMING": "",
    "SAVE_TWS_SETTINGS": "",
    "RELOGIN_AFTER_TWOFA_TIMEOUT": "yes",
    "EXISTING_SESSION_DETECTED_ACTION": "primary",
    "ALLOW_BLIND_TRADING": "no",
    "VNC_SERVER_PASSWORD": "myVncPassword",
    "SSH_TUNNEL": "",
    "SSH_OPTIONS": "",
    "SSH_ALIVE_INTERVAL": "",
    "SSH_ALIVE_COUNT": "",
    "SSH_PASSPHRASE": "",
    "SSH_PASSPHRASE_FILE": "",
    "SSH_REMOTE_PORT": "",
    "SSH_USER_TUNNEL": "",
    "SSH_RESTART": "",
    "SSH_VNC_PORT": "",
    "SSH_RDP_PORT": "",
}

# What stands there commented out, for users to set.
COMMENTED = (
    *("TWS_PASSWORD_FILE", "TWS_USERID_PAPER", "TWS_PASSWORD_PAPER", "TWS_PASSWORD_PAPER_FILE", "PASSWD"),
    *("PASSWD_FILE", "PUID", "PGID", "CUSTOM_CONFIG", "JAVA_HEAP_SIZE", "TWS_MASTER_CLIENT_ID"),
    *("VNC_SERVER_PASSWORD_FILE", "START_SCRIPTS", "X_SCRIPTS", "IBC_SCRIPTS"),
)

# A value for each that differs from every default, as a user might set it.
_VALUES = {
    "TRADING_MODE": "paper",
    "TIME_ZONE": "Asia/Tokyo",
    "READ_ONLY_API": "yes",
    "AUTO_RESTART_TIME": "10:15 PM",
    "TWOFA_TIMEOUT_ACTION": "restart",
}
PORTS = ("127.0.0.1:4001:4003", "127.0.0.1:4002:4004", "127.0.0.1:5900:5900")


def all_names() -> tuple[str, ...]:
    """Every variable of the two files."""
    return tuple(dict.fromkeys((*IN_SERVICE, *IN_ENV_FILE, *COMMENTED)))


def value_for(name: str) -> str:
    """A value for this variable that no default gives."""
    return _VALUES.get(name, f"value of {name.lower()}")


def render_compose(
    *,
    image: str = "ghcr.io/gnzsnz/ib-gateway:latest",
    project: str = "algo-trader",
    ports: tuple[str, ...] = PORTS,
    extra: str = "",
) -> str:
    """The Compose file, with these lines more for its service."""
    environ = [
        f"      {name}: ${{{name}}}" if default is None else f"      {name}: ${{{name}:-{default}}}"
        for name, default in IN_SERVICE.items()
    ]
    lines = [
        f"name: {project}",
        "services:",
        f"  {SERVICE}:",
        "    restart: always",
        "    build:",
        "      context: ./latest",
        "      tags:",
        f'        - "{image}"',
        f"    image: {image}",
        "    environment:",
        *environ,
        "      TZ: ${TIME_ZONE:-Etc/UTC}",
        "    ports:",
        *(f'      - "{port}"' for port in ports),
    ]
    return "\n".join(lines) + f"\n{extra}"


def render_env(**changes: str) -> str:
    """The file of settings, with these changes."""
    return "".join(f"{name}={value}\n" for name, value in (IN_ENV_FILE | changes).items())


def write_folder(folder: Path, *, compose: str | None = None, env: str | None = None) -> Path:
    """The folder with both files, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "docker-compose.yml").write_text(render_compose() if compose is None else compose, encoding="utf-8")
    if env != "":
        (folder / ".env").write_text(render_env() if env is None else env, encoding="utf-8")
    return folder
