#!/bin/sh
# What the image runs:
#
#   made by `inv startup` (BOT_RUN_ID is set): the bot, for gateway and plan were validated in that run. Once: whoever
#     starts this container again starts it without that validation, and is refused;
#   started by Compose alone: the whole validated sequence and its supervisor, with the bot as its child;
#   `monitor`: the watch alone;  any `inv` task and its words: that task.
set -eu

if [ -n "${BOT_RUN_ID:-}" ]; then
  # In the container's own layer, which a new container begins without. Not in a volume, nor in a tmpfs.
  started=/var/tmp/zero-touch-bot-started
  if ! (set -C && : >"$started") 2>/dev/null; then
    echo "This container's bot was validated for one start, run $BOT_RUN_ID, and that is over." >&2
    echo "Start it with \`inv startup\`, which validates gateway and plan and makes a new container." >&2
    exit 1
  fi
  exec sh -c "exec ${BOT_COMMAND:-python3 -m orchestration.bot.reference} \"\$@\"" bot "$@"
fi
case "${1:-}" in
  "" | -*) exec python3 -m orchestration.startup --service "$@" ;;
  *) exec inv "$@" ;;
esac
