"""The TWS API on the wire, for both of its ends. Pure: no socket, no clock.

`frames` cuts a stream of bytes into messages; `messages` knows the handshake and the few messages that this program
reads or writes itself. The gateway room connects with it, the simulator serves with it.
"""
