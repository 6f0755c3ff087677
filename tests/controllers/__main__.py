"""`python -m tests.controllers`: record the texts of published programs that log a gateway in, or read its log."""

import json
import tempfile
from pathlib import Path

from tests.controllers.texts import (
    IB_GATEWAY_MCP,
    IBCONTROLLER,
    RECORDINGS,
    download,
    read_ib_gateway_mcp,
    read_ibcontroller,
)


def main() -> None:
    RECORDINGS.mkdir(exist_ok=True)
    for requirement, read in ((IBCONTROLLER, read_ibcontroller), (IB_GATEWAY_MCP, read_ib_gateway_mcp)):
        with tempfile.TemporaryDirectory() as work:
            recording = read(download(requirement, Path(work)))
        path = RECORDINGS / f"{requirement.replace('==', '-')}.json"
        path.write_text(json.dumps(recording, indent=2, ensure_ascii=True) + "\n", encoding="utf-8")
        print(f"{path.name}: {sum(len(value) for value in recording.values())} entries")  # noqa: T201


if __name__ == "__main__":
    main()
