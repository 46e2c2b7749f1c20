"""Runs Garrison and llama.cpp in turn on one GGUF file and prints their ratio as a table.

    compare.py --garrison GARRISON --model M.gguf [--rounds 5] [--threads 2]

Absolute speeds on shared machines drift, so each round runs both, one after the other, and the
ratio is taken within the round; the table shows the median round and the range of the ratios.
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


def measure_peer(command: list[str]) -> dict:
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_garrison(command: list[str], prompt: int) -> dict:
    """Prefill of the prompt, and decode after it, from `garrison bench engine`."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        subprocess.run([*command, "--json", out.name], check=True, capture_output=True)
        result = json.load(out)
    best = {(row["kind"], row["depth"]): row for row in result["rows"]}
    speed = lambda row: max(row["tokens_per_second"])
    decode = best["decode", prompt]
    return {"load_s": result["load_seconds"], "prefill_tps": speed(best["prefill", 0]), "decode_tps": speed(decode),
            "decode_share_of_limit": decode["share_of_limit"], "peak_rss_bytes": result["peak_resident_bytes"]}


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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--garrison", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--gen", type=int, default=64)
    parser.add_argument("--isa")
    parser.add_argument("--json")
    options = parser.parse_args()

    pathlib.Path(options.model).read_bytes()  # into the page cache
    sizes = ["--threads", str(options.threads), "--prompt", str(options.prompt), "--gen", str(options.gen)]
    ours = [options.garrison, "bench", "engine", "--model", options.model, "--threads", str(options.threads),
            "--prompt-tokens", str(options.prompt), "--max-batch-tokens", str(options.prompt),
            "--gen-tokens", str(options.gen), "--depth", f"0,{options.prompt}", "--batch", "1", "--repetitions", "1",
            *(["--isa", options.isa] if options.isa else [])]
    theirs = [sys.executable, str(HERE / "llama_cpp_speed.py"), options.model, *sizes]
    rounds = []
    for i in range(options.rounds):
        pair = [("garrison", lambda: measure_garrison(ours, options.prompt)), ("llama.cpp", lambda: measure_peer(theirs))]
        results = {name: measure() for name, measure in (pair if i % 2 == 0 else pair[::-1])}
        rounds.append(results)
        print(f"round {i + 1}: {json.dumps(results)}", file=sys.stderr)

    import llama_cpp

    file_bytes = os.path.getsize(options.model)
    print(f"{pathlib.Path(options.model).name}, {file_bytes / 1e9:.3f} GB, {options.threads} threads, "
          f"{options.rounds} alternating rounds, llama-cpp-python {llama_cpp.__version__}\n")
    print("| | Garrison | llama.cpp | ratio (median) | range |")
    print("| --- | --- | --- | --- | --- |")
    for key, label in [("prefill_tps", f"prefill of {options.prompt}, tokens/s"), ("decode_tps", "decode, tokens/s")]:
        ratios = sorted(r["garrison"][key] / r["llama.cpp"][key] for r in rounds)
        a, b = (statistics.median(r[name][key] for r in rounds) for name in ("garrison", "llama.cpp"))
        print(f"| {label} | {a:.2f} | {b:.2f} | {statistics.median(ratios):.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} |")
    ready = [serve_ready(options.garrison, options.model, options.threads) for _ in range(3)]
    seconds = statistics.median(r["ready_s"] for r in ready)
    peak = max(r["peak_rss_bytes"] for r in ready)
    print(f"\n`garrison serve` is ready after {seconds:.2f} s from page cache, with a peak resident memory of "
          f"{peak / 1e9:.3f} GB, {peak / file_bytes:.2f} of the file.")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"rounds": rounds, "ready": ready}, indent=1))


if __name__ == "__main__":
    main()
