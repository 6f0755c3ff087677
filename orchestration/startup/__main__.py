"""`python -m orchestration.startup`: the same as `inv startup`, for hosts and scripts without Invoke."""

import sys

from orchestration.commands.startup import main

if __name__ == "__main__":
    sys.exit(main())
