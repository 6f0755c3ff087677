"""Which variables reach the programs that this one starts."""

from orchestration.settings import variables_by_field
from orchestration.settings.child_environ import build_own_environ, drop_secrets, list_secret_names, select_secrets
from orchestration.settings.image_variables import secret_names

SECRETS = sorted({one.name for one in variables_by_field().values() if one.secret} | secret_names())
OTHERS = {"PATH": "/bin", "STATE_DIR": "/var/lib/x", "MY_TOKEN": "abc", "AWS_SECRET_ACCESS_KEY": "abc"}


def test_a_part_of_this_program_gets_what_it_is_to_have_and_nothing_that_is_unknown() -> None:
    environ = {
        **dict.fromkeys(SECRETS, "secret"),
        **OTHERS,
        "https_proxy": "p",
        "LC_ALL": "C",
        "PYTHONPATH": "/x",
        "LD_LIBRARY_PATH": "/y",
        "ENV_FILE": "/z",
        "ALERT_URLS_FILE": "/run/alerts",
        "TWS_PASSWORD_FILE": "/run/password",
        "CREDENTIALS_DIRECTORY": "/run",
        "NOTIFY_SOCKET": "/run/notify",
        "WATCHDOG_USEC": "1",
    }
    found = build_own_environ(environ, needed_secrets=["ALERT_URLS"])
    assert found == {
        "PATH": "/bin",
        "STATE_DIR": "/var/lib/x",
        "https_proxy": "p",
        "LC_ALL": "C",
        "PYTHONPATH": "/x",
        "LD_LIBRARY_PATH": "/y",
        "ENV_FILE": "/z",
        "ALERT_URLS": "secret",
        "ALERT_URLS_FILE": "/run/alerts",
    }


def test_every_secret_of_the_tables_is_known_as_one() -> None:
    environ = {**dict.fromkeys(SECRETS, "secret"), **OTHERS}
    assert {"TWS_USERID", "TWS_PASSWORD", "STATUS_TOKEN", "VNC_SERVER_PASSWORD"} <= list_secret_names()
    assert sorted(select_secrets(environ)) == SECRETS
    assert drop_secrets(environ) == OTHERS
