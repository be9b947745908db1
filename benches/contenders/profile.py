#!/usr/bin/env python3
"""Counts the instructions of a request in each process of a chain, and by what the function belongs to that they are in.

    cargo build --release --locked -p contenders && benches/contenders/profile.py

Each chain runs under valgrind's callgrind twice, under few requests and under many, and what is counted is the
difference: starts and ends are not in it. It needs valgrind, and a nats-server and oha: named by NATS_SERVER and OHA,
or those that the benchmark itself has under target/.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
FEW, MANY = 500, 6_500
# Of long texts, each of which takes ten times as much.
FEW_LONG, MANY_LONG = 200, 1_700
# With more, each waits so long under valgrind that replicas of ours say that they are working.
CONNECTIONS = 4
PATIENCE = 120

# What is counted: the chains' arguments, and how long a text is asked for.
CHAINS = {
    "async-nats alone": (["raw"], 0),
    "the same with ours' headers": (["raw", "--headers"], 0),
    "tonic, untraced": (["grpc"], 0),
    "ours, tracing off": (["ours"], 0),
    "ours, ratio 0": (["ours", "--ratio", "0", "--spans-dir", "spans"], 0),
    "ours, all traced to files": (["ours", "--ratio", "1", "--spans-dir", "spans"], 0),
}
LONG = {
    "async-nats alone, 32 KB": (["raw"], 32 * 1024),
    "ours, tracing off, 32 KB": (["ours"], 32 * 1024),
}
HOPS = ["gateway", "service in the middle", "last service"]

# The first that a function's name, or the file that it is in, matches.
OWNERS = [
    ("allocator", r"malloc|calloc|realloc|\bfree\b|_int_free|unlink_chunk|__rust_alloc|__rust_dealloc|__rdl_|alloc::alloc|raw_vec"),
    ("memory moved and compared", r"mem(cpy|move|set|cmp)|bcmp|strlen"),
    ("the clock", r"clock_gettime|time::Instant|time::SystemTime|unix::time|__vdso|time::clock"),
    ("header maps, hashing", r"header::|HeaderMap|HeaderName|HeaderValue|hashbrown|siphash|sip::|BuildHasher|hash_one|fnv|RandomState"),
    ("JSON", r"serde_json|serde_core|serde::|itoa|zmij|ryu|telemetry::files|telemetry/files|telemetry::json|span_json"),
    ("OpenTelemetry", r"opentelemetry|tracing_opentelemetry"),
    ("nats-serve", r"nats_serve"),
    ("async-nats", r"async_nats|nkeys|nuid"),
    ("tonic, HTTP/2, protobuf", r"tonic|\bh2::|prost"),
    ("hyper, axum, tower", r"hyper|axum|tower|httparse|http::|http_body|matchit|governor"),
    ("tokio", r"tokio|mio::|futures|parking_lot|core::task|slab|future::Future>::poll"),
    ("text searched, read and written", r"memchr|core::str|core::fmt|Formatter|from_ascii|>::fmt"),
]
REST = "the rest"


def nats_server():
    """The one that is named, or the newest that `nats-serve up` has installed, or that of the PATH."""
    version = lambda path: [int(number) for number in re.findall(r"\d+", path.name)]
    installed = sorted((TARGET / "nats-server").glob("nats-server-*"), key=version)
    return os.environ.get("NATS_SERVER") or (str(installed[-1]) if installed else "nats-server")


def oha():
    installed = next(TARGET.glob("oha-*/bin/oha"), None)
    found = os.environ.get("OHA") or installed or shutil.which("oha")
    return str(found) if found else sys.exit("no oha: run the benchmark once, which installs it, or name one with OHA")


def run(arguments, length, requests, folder):
    """Runs a chain under so many requests for texts of a length, and returns where callgrind has written what it counted of each process."""
    ports = folder / "ports"
    ports.mkdir()
    processes = []
    try:
        nats = [nats_server(), "--config", ROOT / "nats/limits.conf", "--addr", "127.0.0.1", "--port", "-1"]
        processes.append(subprocess.Popen([*nats, "--ports_file_dir", ports], stderr=subprocess.DEVNULL))
        url = wait(lambda: next((re.search(r"nats://[^\"]+", file.read_text()) for file in ports.iterdir()), None)).group(0)
        counted, at = [], ""
        for hop in reversed(range(len(HOPS))):
            out = folder / f"{hop}.callgrind"
            program = [TARGET / "release/contenders", "serve", arguments[0], "--hop", str(hop), "--hops", "2", "--nats", url]
            if at and arguments[0] == "grpc":
                program += ["--next", at]
            valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
            process = subprocess.Popen(
                [*valgrind, *program, *arguments[1:]],
                cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )
            processes.append(process)
            line = process.stdout.readline()
            if not line.startswith("ready "):
                sys.exit(f"a process did not get ready: {line!r}")
            at = line.removeprefix("ready ").strip()
            counted.insert(0, out)
        load = [oha(), "--no-tui", "-n", str(requests), "-c", str(CONNECTIONS), "--output-format", "json"]
        said = subprocess.run([*load, f"http://{at}/user/1?bytes={length}"], capture_output=True, text=True, check=True).stdout
        good = int(re.search(r'"200": (\d+)', said).group(1))
        if good < requests:
            sys.exit(f"{good} of {requests} requests succeeded: {said}")
        # Each leaves when its supervisor has gone.
        for process in reversed(processes[1:]):
            process.stdin.close()
            process.wait(PATIENCE)
        return counted
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def wait(found):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        result = found()
        if result:
            return result
        time.sleep(0.05)
    sys.exit("nats-server does not listen")


def by_owner(out):
    """Returns the instructions of a process by what their functions belong to."""
    annotate = ["callgrind_annotate", "--threshold=100", "--show-percs=no", out]
    listed = subprocess.run(annotate, capture_output=True, text=True, check=True).stdout
    counts = dict.fromkeys([name for name, _ in OWNERS] + [REST], 0)
    for line in listed.splitlines():
        found = re.match(r"\s*([\d,]+)\s+(\S.*:.*)$", line)
        if not found:
            continue
        owner = next((name for name, words in OWNERS if re.search(words, found.group(2))), REST)
        counts[owner] += int(found.group(1).replace(",", ""))
    return counts


def count(arguments, length):
    """Returns the instructions of one request, by process and owner."""
    runs = []
    few, many = (FEW_LONG, MANY_LONG) if length else (FEW, MANY)
    for requests in (few, many):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            runs.append([by_owner(out) for out in run(arguments, length, requests, folder)])
    each = lambda a, b: {owner: (b[owner] - a[owner]) / (many - few) for owner in a}
    return [each(a, b) for a, b in zip(*runs)]


def table(head, rows):
    print(f"| {' | '.join(head)} |\n|---|{'---:|' * (len(head) - 1)}")
    for name, figures in rows:
        print(f"| {name} | {' | '.join(f'{round(figure, -3):,.0f}' for figure in figures)} |")
    print()


def show(counted):
    """Prints two tables: what each process takes, and what it takes that for."""
    chains = {}
    for name, (arguments, length) in counted.items():
        print(f"counting: {name}", file=sys.stderr)
        chains[name] = count(arguments, length)
    table(
        ["process", *chains],
        [(hop, [sum(chain[at].values()) for chain in chains.values()]) for at, hop in enumerate(HOPS)],
    )
    owners = [name for name, _ in OWNERS] + [REST]
    of = lambda chain, owner: sum(process[owner] for process in chain)
    rows = [(owner, [of(chain, owner) for chain in chains.values()]) for owner in owners]
    base = list(chains).index(next(name for name in chains if name.startswith("ours, tracing off")))
    rows.sort(key=lambda row: (row[0] == REST, -row[1][base]))
    total = [sum(figures) for figures in zip(*(figures for _, figures in rows))]
    table(["", *chains], [*rows, ("all", total)])


def main():
    show(CHAINS)
    show(LONG)


if __name__ == "__main__":
    main()
