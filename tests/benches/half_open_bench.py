"""Open many connections and say nothing, or half of something: python half_open_bench.py PORT COUNT.

Half of them stay silent before TLS, half stop in the middle of a request's headers. Every tenth
address of 127.0.0.0/8 or so takes part. Prints one JSON line when all are open and one at the end:
the age of the oldest when it was closed, and how many were closed within a minute.
"""

import asyncio
import json
import ssl
import sys
import time

HALF = b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\nx-"
PATIENCE_S = 60.0
Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter, float]
PARALLEL = 64


async def open_one(port: int, number: int, gate: asyncio.Semaphore) -> Opened | None:
    context = None
    if number % 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with gate:
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, local_addr=(f"127.0.1.{number % 200 + 1}", 0)
            )
        except OSError:
            return None
        if context is not None:
            writer.write(HALF)
        return reader, writer, time.monotonic()


async def lives(opened: Opened) -> float:
    """Seconds until the other side closed it; infinite when it did not within PATIENCE_S."""
    reader, _writer, began = opened  # a writer nobody holds would close the connection
    try:
        await asyncio.wait_for(reader.read(), PATIENCE_S + began - time.monotonic())
    except TimeoutError:
        return float("inf")
    except OSError:
        pass
    return time.monotonic() - began


async def main(port: int, count: int) -> None:
    gate = asyncio.Semaphore(PARALLEL)
    began = time.monotonic()
    watched: list[asyncio.Task[float]] = []

    async def one(number: int) -> None:
        opened = await open_one(port, number, gate)
        if opened is not None:
            watched.append(asyncio.create_task(lives(opened)))

    await asyncio.gather(*(one(number) for number in range(count)))
    sys.stdout.write(
        json.dumps({"opened": len(watched), "seconds": time.monotonic() - began}) + "\n"
    )
    sys.stdout.flush()
    ages = sorted(await asyncio.gather(*watched))
    closed = sum(age < float("inf") for age in ages)
    sys.stdout.write(json.dumps({"oldest": min(ages[-1], 1e9), "closed": closed}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
