"""Alerts: what the operator is told, and how it gets to the phone without ever holding up a start-up.

* `alert`: the value;
* `channel`: what a channel is; `channels`: the table of the kinds there are, and the ones that are configured;
* `discord` and `heartbeat`: what goes over the wire;
* `posting`: one bounded HTTP request that keeps its address to itself;
* `delivery`: takes alerts; `sender`: brings them to one channel; `worker`: the thread that each of them has;
* `outbox` and `backlog`: where alerts wait, and what becomes of those that wait for too long.
"""
