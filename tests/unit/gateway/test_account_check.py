"""The account on the wire must be the one that was meant."""

import pytest

from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.account_check import validate_accounts
from orchestration.settings import Settings

LIVE = {"TRADING_MODE": "live", "ALLOW_LIVE_TRADING": "yes", "GATEWAY_ACCOUNT": "U1234567"}


@pytest.mark.parametrize(
    ("named", "environ", "accepted"),
    [
        (["DU1234567"], {}, ("DU1234567",)),
        (["DF1234567", "DU1234567", "DI1234567"], {}, ("DF1234567", "DU1234567", "DI1234567")),
        (["DU1234567", "", " "], {}, ("DU1234567",)),  # an advisor's list can end in a comma
        (["DU1234567"], {"GATEWAY_ACCOUNT": "DU1234567"}, ("DU1234567",)),
        (["DU1234567"], {"GATEWAY_ACCOUNT": "du1234567,DU7654321"}, ("DU1234567",)),
        (["U1234567"], LIVE, ("U1234567",)),
        (["U1234567"], {**LIVE, "GATEWAY_ACCOUNT": "U1234567,U7654321"}, ("U1234567",)),
    ],
)
def test_the_right_accounts_are_accepted(named: list[str], environ: dict[str, str], accepted: tuple[str, ...]) -> None:
    assert validate_accounts(named, Settings.from_environ(environ)) == accepted


@pytest.mark.parametrize(
    ("named", "environ", "complaint"),
    [
        (["U1234567"], {}, "shows live accounts"),
        (["DU1234567", "U1234567"], {}, "shows live accounts"),
        (["DU1234567"], LIVE, "shows paper accounts"),
        (["U7654321"], LIVE, "allows only"),
        (["U1234567", "U7654321"], LIVE, "allows only"),
        (["DU1234567"], {"GATEWAY_ACCOUNT": "DU7654321"}, "allows only"),
        ([], {}, "no account at all"),
        (["", ""], LIVE, "no account at all"),
    ],
)
def test_any_other_account_is_refused(named: list[str], environ: dict[str, str], complaint: str) -> None:
    with pytest.raises(StartupFailure, match=complaint) as failed:
        validate_accounts(named, Settings.from_environ(environ))
    assert failed.value.word is FailureWord.GATEWAY_WRONG_ACCOUNT
    assert failed.value.next_action
    assert not any(account in failed.value.message for account in named if account), "accounts are shown masked"


def test_the_built_in_gateway_is_held_to_its_mode_only() -> None:
    settings = Settings.from_environ({"GATEWAY_ACCOUNT": "DU7654321"})
    assert validate_accounts(["DU1234567"], settings, is_simulated=True) == ("DU1234567",)
    with pytest.raises(StartupFailure):
        validate_accounts(["U1234567"], settings, is_simulated=True)
