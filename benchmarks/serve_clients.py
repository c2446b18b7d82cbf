"""A hundred clients at once against one after another: is anybody lost, and how long does each wait?

    python benchmarks/serve_clients.py recognize FILM [--model camera] [--clients 100] [--alone 20]
    python benchmarks/serve_clients.py localize FILM
    python benchmarks/serve_clients.py stylize PICTURE

The service is `muybridge serve` in a process of its own, on this machine; clients are threads of this one. What is
told are seconds of the clock, which clients wait for, and of the service's processor, whatever else runs.
"""

import argparse
import http.client
import os
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MODELS = {"recognize": "camera", "localize": "people_actions", "stylize": "builtin"}
PATHS = {"recognize": "/recognize", "localize": "/localize", "stylize": "/stylize?style=ember"}


def ask(port: int, path: str, body: bytes) -> tuple[int, float, int]:
    """(status, seconds, how often it was told to come again)."""
    start, again = time.monotonic(), 0
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3600)
        connection.request("POST", path, body)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != 429:
            return answer.status, time.monotonic() - start, again
        again += 1
        time.sleep(float(answer.headers["retry-after"]))


def batches(port: int) -> dict[str, tuple[float, float]]:
    """Clips or frames that were in batches, and batches, so far."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    sums, counts = (
        dict(re.findall(rf'muybridge_batch_size_{name}{{of="(\w+)"}} (\S+)', page)) for name in ("sum", "count")
    )
    return {of: (float(sums[of]), float(counts[of])) for of in sums}


def processor_seconds(process: int) -> float:
    ticks = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def told(name: str, seconds: list[float], whole: float, processor: float) -> None:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    print(
        f"{name}: {len(seconds)} answers in {whole:.1f} s, {len(seconds) / whole:.1f} a second; "
        f"p50 {statistics.median(seconds):.2f} s, p99 {p99:.2f} s; processor {processor / len(seconds):.3f} s each",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=tuple(MODELS))
    parser.add_argument("file", type=Path)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--alone", type=int, default=20)
    parser.add_argument("--model")
    options = parser.parse_args()
    body, path, model = options.file.read_bytes(), PATHS[options.verb], options.model or MODELS[options.verb]
    command = [sys.executable, "-m", "muybridge.apps.cli", "serve", "--model", model, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
        port = int(re.search(r":(\d+)$", service.stderr.readline().strip())[1])
        ask(port, path, body)
        start, used = time.monotonic(), processor_seconds(service.pid)
        alone = [ask(port, path, body) for _ in range(options.alone)]
        used_alone = processor_seconds(service.pid) - used
        told("one after another", [seconds for _, seconds, _ in alone], time.monotonic() - start, used_alone)
        before = batches(port)
        start, used = time.monotonic(), processor_seconds(service.pid)
        with ThreadPoolExecutor(options.clients) as clients:
            answers = list(clients.map(lambda _: ask(port, path, body), range(options.clients)))
        used_together = processor_seconds(service.pid) - used
        seconds = [seconds for _, seconds, _ in answers]
        told(f"{options.clients} at once", seconds, time.monotonic() - start, used_together)
        lost = sum(status != 200 for status, *_ in answers)
        again = sum(times for *_, times in answers)
        print(f"lost: {lost}; told to come again: {again}")
        for of, (items, count) in batches(port).items():
            items, count = items - before[of][0], count - before[of][1]
            print(f"{of} a batch: {items / count:.1f}")
        service.terminate()
        service.wait()
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
