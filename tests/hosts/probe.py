"""`python probe.py ENDPOINT PATH [CA CERT KEY]`: ask a member of the store something; prints the seconds it took.

Exit code 1: there was no answer with status 200 within 3 s. On the standard library alone.
"""

import json
import ssl
import sys
import time
import urllib.request

_TIMEOUT_S = 3.0


def main() -> int:
    """Ask."""
    endpoint, path, *files = sys.argv[1:]
    context = None
    if files:
        context = ssl.create_default_context(cafile=files[0])
        context.load_cert_chain(files[1], files[2])
    body = json.dumps({"key": "AA=="}).encode()
    began_s = time.monotonic()
    try:
        with urllib.request.urlopen(endpoint + path, body, _TIMEOUT_S, context=context) as answer:  # noqa: S310 - ours
            answer.read()
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{time.monotonic() - began_s:.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
