"""Whether the gateway is logged in to the account that it should be. Pure."""

from collections.abc import Sequence

from orchestration.errors import FailureWord, StartupFailure
from orchestration.redaction import mask_account
from orchestration.settings import Settings, TradingMode

_PAPER_PREFIX = "D"  # DU a paper account, DF a paper advisor, DI a paper broker


def validate_accounts(accounts: Sequence[str], settings: Settings, *, is_simulated: bool = False) -> tuple[str, ...]:
    """Check the accounts that the gateway named against the mode and `GATEWAY_ACCOUNT`.

    Args:
        accounts: What the gateway said; empty ids (an advisor's list can end in a comma) are ignored.
        settings: The configuration.
        is_simulated: The built-in gateway has an account of its own: only the mode is checked then.

    Returns:
        The accounts without the empty ids.

    Raises:
        StartupFailure: `GATEWAY_WRONG_ACCOUNT`.
    """
    named = tuple(account.strip() for account in accounts if account.strip())
    if not named:
        raise _wrong("the gateway named no account at all", "Log in with a user that may trade an account.")
    shown = ", ".join(mask_account(account) for account in named)
    is_paper_mode = settings.trading_mode is TradingMode.PAPER
    other_kind = [account for account in named if account.upper().startswith(_PAPER_PREFIX) is not is_paper_mode]
    if other_kind:
        kind, wanted = ("live", "paper") if is_paper_mode else ("paper", "live")
        raise _wrong(
            f"TRADING_MODE is `{settings.trading_mode}`, but the gateway shows {kind} accounts ({shown})",
            f"Log the gateway in with the {wanted} user (TWS_USERID), or point GATEWAY_PORT at the {wanted} gateway.",
        )
    if is_simulated or not settings.gateway_account:
        return named
    allowed = {account.upper() for account in settings.gateway_account}
    if any(account.upper() not in allowed for account in named):
        raise _wrong(
            f"the gateway shows {shown}, and GATEWAY_ACCOUNT allows only "
            + ", ".join(mask_account(account) for account in settings.gateway_account),
            "Log in with the right user (TWS_USERID), or correct GATEWAY_ACCOUNT.",
        )
    return named


def _wrong(message: str, next_action: str) -> StartupFailure:
    return StartupFailure(FailureWord.GATEWAY_WRONG_ACCOUNT, message, next_action=next_action)
