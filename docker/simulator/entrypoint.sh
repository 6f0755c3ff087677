#!/bin/sh
# Turns the environment that the vendor's image takes into the simulator's arguments.
set -eu

mode="${TRADING_MODE:-paper}"
case "$mode" in
  paper) api_port=4002 forwarder_port=4004 ;;
  live) api_port=4001 forwarder_port=4003 ;;
  *)
    echo "simulator: TRADING_MODE is '$mode'; the simulator knows paper and live" >&2
    exit 1
    ;;
esac
if [ -n "${TWS_PASSWORD:-}" ] && [ -n "${TWS_PASSWORD_FILE:-}" ]; then
  echo "simulator: TWS_PASSWORD and TWS_PASSWORD_FILE are both set; only one of them is allowed" >&2
  exit 1
fi

exec python3 -m orchestration.simulator \
  --host 127.0.0.1 --port "$api_port" --forwarder "0.0.0.0:$forwarder_port" --mode "$mode" \
  --second-factor-timeout "${TWOFA_TIMEOUT_ACTION:-restart}" \
  --start-marker /tmp/simulator.started \
  --password-file "${TWS_PASSWORD_FILE:-}" \
  --controller "${SIMULATOR_CONTROLLER:-ibc}" \
  --settings-dir "${TWS_SETTINGS_PATH:-${HOME:-/tmp}/Jts}" \
  --faults "${SIMULATOR_FAULTS:-}"
