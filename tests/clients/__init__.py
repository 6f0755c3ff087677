"""Other people's clients of the TWS API, from PyPI and npm, and what they say and hear on the wire.

`python -m tests.clients` installs each one in a folder of its own, lets it connect to the built-in gateway through a
relay, and writes what passed, with what the client then reported, to `tests/fixtures/tws`. The unit tests of
`orchestration.tws` are held to these files.

It then lets each client make every request that it has, writes what it sent and heard to
`tests/fixtures/tws_requests`, and the table of `docs/reference/clients.md` from that. The built-in gateway's answers
are held to these files.
"""
