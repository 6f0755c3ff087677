"""The built-in stand-in for IB Gateway: the TWS API's wire protocol, the controller's log lines, and faults on demand.

`python -m orchestration.simulator --help` says how to run it; docs/reference/simulator.md says what it does. It needs
the standard library alone, so that its image needs no package, and it knows no other room.
"""
