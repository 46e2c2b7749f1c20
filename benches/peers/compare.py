"""Runs Garrison and llama.cpp in turn on one GGUF file and prints their ratios as a table.

    compare.py --garrison GARRISON --model M.gguf [--rounds 5] [--threads 2] [--isa avx2]
               [--only single,batches,deep,brief] [--json F] [--seconds S]

Absolute speeds on shared machines drift, so each round runs both, one after the other, and the
ratio is taken within the round; the table shows the median round and the range of the ratios.
With --json every round is kept in a file when it is done, and rounds that are there already count: the same
command again goes on where it was stopped. With --seconds it begins no round after so many, so that a long
table can be made in slices of a quiet machine.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent

# What is measured, as flags that both sides understand.
GROUPS = {
    # One sequence: its prompt, and decoding at the start and after the prompt.
    "single": {"prompt-tokens": "512", "gen-tokens": "64", "batch": "1", "depth": "0,512"},
    # Several sequences that decode.
    "batches": {"prompt-tokens": "1", "gen-tokens": "16", "batch": "1,2,4,8,16,32", "depth": "0"},
    # One sequence in a long context.
    "deep": {"prompt-tokens": "512", "gen-tokens": "32", "batch": "1", "depth": "8192"},
    # The least that says something, for large models.
    "brief": {"prompt-tokens": "512", "gen-tokens": "16", "batch": "1", "depth": "0"},
}


def run(command: list[str]) -> dict:
    if "{json}" not in command:
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    with tempfile.TemporaryDirectory() as folder:
        # Read by name, since it is another file that takes this name each time it is written.
        out = pathlib.Path(folder, "result.json")
        command = [str(out) if part == "{json}" else part for part in command]
        subprocess.run(command, check=True, capture_output=True)
        return json.loads(out.read_text())


def by_shape(result: dict) -> dict:
    shape = lambda row: (row["kind"], row["batch"], row["tokens"], row["depth"])
    return {shape(row): row for row in result["rows"] if row["tokens"] > 1}


def peak_rss(pid: int) -> int:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def serve_ready(binary: str, model: str, threads: int) -> dict:
    """Seconds from the start of `garrison serve` to its ready line, and its peak memory by then."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [binary, "serve", "--model", model, "--port", "0", "--threads", str(threads)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    line = process.stdout.readline()
    ready = time.perf_counter() - started
    peak = peak_rss(process.pid)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    if not line.startswith("ready "):
        sys.exit(f"garrison serve did not get ready: {line!r}")
    return {"ready_s": ready, "peak_rss_bytes": peak}


def label(shape: tuple) -> str:
    kind, batch, tokens, depth = shape
    at = f" at depth {depth}" if depth else ""
    return f"prefill of {tokens}{at}" if kind == "prefill" else f"decode, {batch} at once{at}"


def commands(options: argparse.Namespace, group: str) -> dict[str, list[str]]:
    sizes = [part for flag, value in GROUPS[group].items() for part in (f"--{flag}", value)]
    sizes += ["--threads", str(options.threads)]
    return {
        "garrison": [options.garrison, "bench", "engine", "--model", options.model, *sizes, "--max-batch-tokens", "512",
                     "--repetitions", "1", "--json", "{json}", *(["--isa", options.isa] if options.isa else [])],
        "llama.cpp": [sys.executable, str(HERE / "llama_cpp_speed.py"), options.model, *sizes],
    }


def one_round(sides: dict[str, list[str]], number: int) -> dict:
    """Both sides once; who begins alternates."""
    order = list(sides) if number % 2 == 0 else list(reversed(sides))
    results = {name: run(sides[name]) for name in order}
    speeds = {name: {label(s): round(r["tokens_per_second"][0], 1) for s, r in by_shape(results[name]).items()}
              for name in sides}
    print(f"round {number + 1}: {json.dumps(speeds)}", file=sys.stderr)
    return results


def print_rows(rounds: list[dict]) -> None:
    shapes = by_shape(rounds[0]["garrison"])
    for shape in shapes:
        pairs = [[by_shape(r[name])[shape] for name in ("garrison", "llama.cpp")] for r in rounds]
        speeds = [[row["tokens_per_second"][0] for row in pair] for pair in pairs]
        ratios = sorted(a / b for a, b in speeds)
        a, b = (statistics.median(s[i] for s in speeds) for i in range(2))
        share = statistics.median(pair[0]["share_of_limit"] for pair in pairs)
        print(f"| {label(shape)} | {len(rounds)} | {a:.2f} | {b:.2f} | {statistics.median(ratios):.2f} | "
              f"{ratios[0]:.2f} to {ratios[-1]:.2f} | {100 * share:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--garrison", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", type=lambda text: text.split(","), default=["single", "batches"])
    parser.add_argument("--isa")
    parser.add_argument("--json")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    unknown = [group for group in options.only if group not in GROUPS]
    if unknown:
        parser.error(f"--only knows {', '.join(GROUPS)}, not {', '.join(unknown)}")

    pathlib.Path(options.model).read_bytes()  # into the page cache
    import llama_cpp

    file_bytes = os.path.getsize(options.model)
    print(f"{pathlib.Path(options.model).name}, {file_bytes / 1e9:.3f} GB, {options.threads} threads, "
          f"alternating rounds, llama-cpp-python {llama_cpp.__version__}\n")
    print("| tokens/s | rounds | Garrison | llama.cpp | ratio (median) | range | % of limit |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    kept = Kept(options.json)
    until = time.monotonic() + options.seconds
    for group in options.only:
        rounds = kept.groups.setdefault(group, [])
        while len(rounds) < options.rounds and time.monotonic() < until:
            rounds.append(one_round(commands(options, group), len(rounds)))
            kept.write()
        if rounds:
            print_rows(rounds)
    while len(kept.ready) < 3 and time.monotonic() < until:
        kept.ready.append(serve_ready(options.garrison, options.model, options.threads))
        kept.write()
    if kept.ready:
        seconds = statistics.median(r["ready_s"] for r in kept.ready)
        peak = max(r["peak_rss_bytes"] for r in kept.ready)
        print(f"\n`garrison serve` is ready after {seconds:.2f} s from page cache, with a peak resident memory of "
              f"{peak / 1e9:.3f} GB, {peak / file_bytes:.2f} of the file.")


class Kept:
    """What was measured so far, in a file if there is a name for it."""

    def __init__(self, path: str | None) -> None:
        self.path = pathlib.Path(path) if path else None
        before = json.loads(self.path.read_text()) if self.path and self.path.exists() else {}
        self.groups = before.get("groups", {})
        self.ready = before.get("ready", [])

    def write(self) -> None:
        if self.path:
            self.path.write_text(json.dumps({"groups": self.groups, "ready": self.ready}, indent=1))


if __name__ == "__main__":
    main()
