"""A hundred clients at once against one after another: is anybody lost, and how long does each wait?

    python benchmarks/serve_clients.py CLIP [--clients 100] [--alone 20] [--model camera]

The service is `muybridge serve` in a process of its own, on this machine; clients are threads of this one.
"""

import argparse
import http.client
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def ask(port: int, film: bytes) -> tuple[int, float, int]:
    """(status, seconds, how often it was told to come again)."""
    start, again = time.monotonic(), 0
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        connection.request("POST", "/recognize", film)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != 429:
            return answer.status, time.monotonic() - start, again
        again += 1
        time.sleep(float(answer.headers["retry-after"]))


def batches(port: int) -> tuple[float, float]:
    """Clips and batches so far."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    return tuple(float(re.search(rf"muybridge_batch_clips_{name} (\S+)", page)[1]) for name in ("sum", "count"))


def told(name: str, seconds: list[float], whole: float) -> None:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    print(
        f"{name}: {len(seconds)} answers in {whole:.1f} s, {len(seconds) / whole:.1f} a second; "
        f"p50 {statistics.median(seconds):.2f} s, p99 {p99:.2f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--alone", type=int, default=20)
    parser.add_argument("--model", default="camera")
    options = parser.parse_args()
    film = options.clip.read_bytes()
    command = [sys.executable, "-m", "muybridge.apps.cli", "serve", "--model", options.model, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
        port = int(re.search(r":(\d+)$", service.stderr.readline().strip())[1])
        ask(port, film)
        start = time.monotonic()
        alone = [ask(port, film) for _ in range(options.alone)]
        told("one after another", [seconds for _, seconds, _ in alone], time.monotonic() - start)
        clips, count = batches(port)
        start = time.monotonic()
        with ThreadPoolExecutor(options.clients) as clients:
            answers = list(clients.map(lambda _: ask(port, film), range(options.clients)))
        told(f"{options.clients} at once", [seconds for _, seconds, _ in answers], time.monotonic() - start)
        more_clips, more_count = batches(port)
        lost = sum(status != 200 for status, *_ in answers)
        again = sum(times for *_, times in answers)
        a_batch = (more_clips - clips) / (more_count - count)
        print(f"lost: {lost}; told to come again: {again}; clips a batch: {a_batch:.1f}")
        service.terminate()
        service.wait()
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
