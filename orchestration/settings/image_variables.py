"""The variables of the vendor's image (`ib-gateway`), beside those that this program has settings for.

The names are those of the published Compose file (commit a65e785f), `.env-dist` (647aefc7) and start scripts
(008265b3) of the repository gnzsnz/ib-gateway-docker. Values are not checked here: what is set is passed on as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

_VENDORS_NAME = "ib-gateway"


@dataclass(frozen=True, kw_only=True)
class ImageVariable:
    """One variable of the image.

    Attributes:
        name: The variable.
        help: What it is for, in a few words.
        is_secret: Whether its value is masked everywhere and kept from the bot.
        is_in_shipped_file: Whether the shipped Compose file passes it on. The others need files, mounts or ports that
            only a Compose file of the operator's own can give.
        is_common: Whether programs that have nothing to do with the gateway use the name too: then only the `.env`
            file counts, not the environment.
    """

    name: str
    help: str
    is_secret: bool = False
    is_in_shipped_file: bool = True
    is_common: bool = False


@dataclass(frozen=True, kw_only=True)
class GivenVariable:
    """One of them that are set for this program.

    Attributes:
        name: The variable.
        value: Its value, as it stands there.
        source: `environment` or `.env`.
    """

    name: str
    value: str = field(repr=False)
    source: str

    @property
    def is_in_shipped_file(self) -> bool:
        """See `ImageVariable.is_in_shipped_file`."""
        return IMAGE_VARIABLES[self.name].is_in_shipped_file


def _of_own_folder(name: str, text: str, *, is_secret: bool = False, is_common: bool = False) -> ImageVariable:
    return ImageVariable(name=name, help=text, is_secret=is_secret, is_in_shipped_file=False, is_common=is_common)


IMAGE_VARIABLES: Mapping[str, ImageVariable] = {
    variable.name: variable
    for variable in (
        ImageVariable(name="TWOFA_DEVICE", help="Which second-factor device to use, where the user has several"),
        ImageVariable(name="TWOFA_EXIT_INTERVAL", help="Seconds to wait for the confirmed second factor to log in"),
        ImageVariable(
            name="RELOGIN_AFTER_TWOFA_TIMEOUT", help="Log in again after a second factor that was not confirmed"
        ),
        ImageVariable(
            name="EXISTING_SESSION_DETECTED_ACTION", help="What to do when another session holds the user name"
        ),
        ImageVariable(name="TWS_COLD_RESTART", help="Time of the full login on Sundays"),
        ImageVariable(name="AUTO_LOGOFF_TIME", help="Time of a daily logoff without a restart"),
        ImageVariable(name="TWS_ACCEPT_INCOMING", help="How API connections from other addresses are treated"),
        ImageVariable(name="BYPASS_WARNING", help="Bypass the order precautions of the API"),
        ImageVariable(name="ALLOW_BLIND_TRADING", help="Whether orders without market data are allowed"),
        ImageVariable(name="SAVE_TWS_SETTINGS", help="When the gateway saves its settings"),
        ImageVariable(name="TWS_MASTER_CLIENT_ID", help="The API client id that sees every client's orders"),
        ImageVariable(name="CUSTOM_CONFIG", help="`yes`: the image writes no configuration of its own"),
        ImageVariable(name="JAVA_HEAP_SIZE", help="Java's heap in megabytes"),
        ImageVariable(
            name="VNC_SERVER_PASSWORD", help="Starts a VNC server in the container, with this password", is_secret=True
        ),
        _of_own_folder("VNC_SERVER_PASSWORD_FILE", "The same, from a file in the container"),
        _of_own_folder("TWS_USERID_PAPER", "The paper user, with TRADING_MODE=both", is_secret=True),
        _of_own_folder("TWS_PASSWORD_PAPER", "The paper password, with TRADING_MODE=both", is_secret=True),
        _of_own_folder("TWS_PASSWORD_PAPER_FILE", "The same, from a file in the container"),
        _of_own_folder("IBC_USERID", "The user name, where the image's controller is ibcontroller", is_secret=True),
        _of_own_folder("IBC_PASSWORD", "The password, likewise", is_secret=True),
        _of_own_folder("IBC_PASSWORD_FILE", "The same, from a file in the container"),
        _of_own_folder("TWS_SETTINGS_PATH", "Folder of the gateway's settings in the container"),
        _of_own_folder("TZ", "The container's time zone; the shipped file takes TIME_ZONE", is_common=True),
        _of_own_folder("SSH_TUNNEL", "Forward the API through an SSH tunnel: `yes` or `both`"),
        _of_own_folder("SSH_OPTIONS", "Options of `ssh` for it"),
        _of_own_folder("SSH_ALIVE_INTERVAL", "Seconds between its signs of life"),
        _of_own_folder("SSH_ALIVE_COUNT", "How many of them may be missed"),
        _of_own_folder("SSH_PASSPHRASE", "Passphrase of its key", is_secret=True),
        _of_own_folder("SSH_PASSPHRASE_FILE", "The same, from a file in the container"),
        _of_own_folder("SSH_REMOTE_PORT", "Its port on the other side"),
        _of_own_folder("SSH_USER_TUNNEL", "`user@server` of the other side"),
        _of_own_folder("SSH_RESTART", "Seconds before it is tried again"),
        _of_own_folder("SSH_VNC_PORT", "Port of the other side that leads to the VNC server"),
        _of_own_folder("SSH_RDP_PORT", "The same for the desktop of the image of TWS"),
        _of_own_folder("START_SCRIPTS", "Folder of scripts that run first"),
        _of_own_folder("X_SCRIPTS", "Folder of scripts that run once there is a display"),
        _of_own_folder("IBC_SCRIPTS", "Folder of scripts that run once the controller runs"),
        _of_own_folder("GATEWAY_OR_TWS", "Which of the two programs runs"),
        _of_own_folder("PASSWD", "Desktop password of the image of TWS", is_secret=True, is_common=True),
        _of_own_folder("PASSWD_FILE", "The same, from a file in the container", is_common=True),
        _of_own_folder("PUID", "User id in the image of TWS", is_common=True),
        _of_own_folder("PGID", "Group id in the image of TWS", is_common=True),
    )
}

# What the image takes from a variable or from the file that `NAME_FILE` names; with both set it ends at once.
EXCLUSIVE = ("TWS_PASSWORD", "TWS_PASSWORD_PAPER", "VNC_SERVER_PASSWORD", "SSH_PASSPHRASE")


def find_given(layers: tuple[tuple[str, Mapping[str, str]], ...]) -> tuple[GivenVariable, ...]:
    """Those that are set, in the table's order; the first layer that has one counts. Empty counts as unset.

    Args:
        layers: Each layer's name (`environment`, `.env`) and what it says.
    """
    found = []
    for name, variable in IMAGE_VARIABLES.items():
        for source, layer in layers:
            if layer.get(name, "").strip() and not (variable.is_common and source == "environment"):
                found.append(GivenVariable(name=name, value=layer[name], source=source))
                break
    return tuple(found)


def is_vendors_image(image: str) -> bool:
    """Whether this is the vendor's image of the gateway, by its name, from whatever registry and of whatever tag."""
    return _VENDORS_NAME in image.rpartition("/")[2]


def secret_names() -> frozenset[str]:
    """The names of the secret ones."""
    return frozenset(name for name, variable in IMAGE_VARIABLES.items() if variable.is_secret)
