"""`python -m tests.hosts.delay_proxy DELAY_FILE PORT=HOST:PORT ...`: passes bytes on, late by what the file says.

Kernels without netem delay nothing themselves.
"""

import asyncio
import contextlib
import sys
from pathlib import Path


def _read_delay_s(delay: Path) -> float:
    return float(delay.read_text(encoding="ascii"))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: Path) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            delay_s = _read_delay_s(delay)
            if delay_s:
                await asyncio.sleep(delay_s)
            writer.write(data)
            await writer.drain()
    writer.close()


async def _serve(delay: Path, routes: list[str]) -> None:
    for route in routes:
        port, _, target = route.partition("=")
        host, _, target_port = target.partition(":")

        async def take(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str = host, port: str = target_port
        ) -> None:
            try:
                far_reader, far_writer = await asyncio.open_connection(host, int(port))
            except OSError:
                writer.close()
                return
            await asyncio.gather(_pass(reader, far_writer, delay), _pass(far_reader, writer, delay))

        await asyncio.start_server(take, "127.0.0.1", int(port))
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2:]))
