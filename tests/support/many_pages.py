"""Pages that poll as fast as the real one does, over real sockets; run with a port, a token and their number."""

from __future__ import annotations

import asyncio
import sys

STATE_S, CAMERA_S = 0.25, 0.15


async def fetch(port: int, path: str, token: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        answer = await reader.read(-1)
        assert answer.startswith(b"HTTP/1.0 200"), answer[:80]
    finally:
        writer.close()


async def keep_fetching(port: int, path: str, token: str, period: float, offset: float) -> None:
    await asyncio.sleep(offset)
    while True:
        await asyncio.gather(fetch(port, path, token), asyncio.sleep(period))
        counted[0] += 1


counted = [0]


async def main(port: int, token: str, pages: int) -> None:
    tasks = [
        asyncio.create_task(keep_fetching(port, path, token, period, period * n / pages))
        for n in range(pages)
        for path, period in ((f"/state?client={n}", STATE_S), ("/camera.jpg", CAMERA_S))
    ]
    print("started", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for task in tasks:
        task.cancel()
    failed = [r for r in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(r, Exception)]
    print(f"{counted[0]} {len(failed)} {failed[:1]}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
