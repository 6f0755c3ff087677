"""Alerts: what the operator is told, and how it gets to the phone without ever holding up a start-up.

* `alert`: the value; `discord` and `heartbeat`: what goes over the wire for it (pure);
* `posting`: one bounded HTTP request that keeps its address to itself;
* `delivery`: the worker beside the sequence, its outbox and its limits.
"""
