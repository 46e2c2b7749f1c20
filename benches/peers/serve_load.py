"""Puts `garrison serve` and llama.cpp's own server under the same load and prints their ratio.

    serve_load.py --garrison GARRISON --llama-server LLAMA_SERVER --model M.gguf [--rounds 3]

16 clients ask over streaming /v1/completions, each one request after the other, so 16 are always
under way until the last ones end. Prompts are token ids, 64 to 512 of them spread evenly, so both
servers compute the same number; 64 tokens are generated whatever they are, which the servers' own
usage must confirm. Times are the client's: to the first event with text, and from the first request
sent to the last answer complete.

Each turn starts a server, warms it up, loads it and stops it, so the one that waits costs nothing.
A round is a turn of each, on the same prompts; the next round has other prompts, and who goes first
changes. Ratios are taken within a round, since speeds of shared machines drift.

Both have the same threads, KV cache (clients times context, in f16) and sampling parameters, and
otherwise their defaults. llama.cpp is given its two layouts of the KV cache in turn: one part per
slot, where a batch splits wherever sequences differ in length, and `--kv-unified`, where it does not
but attention looks at every slot's cells. Its caching of prompts is off: nothing here repeats, and
it would copy each finished slot. Garrison's finds nothing, which is checked too.

llama.cpp's threads wait for each other in OpenMP's loops, so that it loses far more than Garrison
does when other programs run. What those took is told with the table: well under 0.1 cores, or the
ratios say little.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import pathlib
import random
import re
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import aiohttp

READY_S = 300
REQUEST_S = 3600
# A usual chat setting, rather than greedy: random weights soon repeat themselves, and what repeats
# is guessed at once by Garrison's prompt lookup.
SAMPLING = {"temperature": 1.0, "top_k": 40, "top_p": 0.95, "min_p": 0.0}


class Failed(Exception):
    """A server that did not do what was asked, so that its times mean nothing."""


@dataclasses.dataclass
class Server:
    name: str
    command: list[str]


@dataclasses.dataclass
class Ask:
    prompt: list[int]
    max_tokens: int
    seed: int


@dataclasses.dataclass
class Answer:
    ttft_s: float
    prompt_tokens: int
    generated_tokens: int
    cached_tokens: int


class Running:
    """A server that is up, and stopped on leaving the block."""

    def __init__(self, server: Server):
        self.server = server
        self.log = tempfile.TemporaryFile()

    async def __aenter__(self) -> "Running":
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [*self.server.command, "--host", "127.0.0.1", "--port", str(port)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        # A connection each: llama-server closes those kept open when it likes, which would lose a request.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self.session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=REQUEST_S))
        try:
            await self.wait_ready()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                async with self.session.get(f"{self.url}/health") as response:
                    if response.status == 200:
                        break
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
        else:
            raise Failed(f"{self.server.name} did not get ready:\n{self.log_tail()}")
        async with self.session.get(f"{self.url}/v1/models") as response:
            self.model = (await response.json())["data"][0]

    def log_tail(self) -> str:
        self.log.seek(max(0, self.log.seek(0, os.SEEK_END) - 4000))
        return self.log.read().decode(errors="replace")

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    async def complete(self, ask: Ask) -> Answer:
        body = {"model": self.model["id"], "prompt": ask.prompt, "max_tokens": ask.max_tokens, "seed": ask.seed,
                "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}, **SAMPLING}
        started = time.perf_counter()
        ttft = None
        received = bytearray()
        async with self.session.post(f"{self.url}/v1/completions", json=body) as response:
            if response.status != 200:
                raise Failed(f"{self.server.name}: {response.status}: {await response.text()}")
            async for piece in response.content.iter_any():
                received += piece
                # Later events are read when all is over, so that the client takes little from the servers.
                if ttft is None and any(has_text(event) for event in events(received)):
                    ttft = time.perf_counter() - started
        ended = time.perf_counter() - started
        usage = next((event["usage"] for event in reversed(events(received)) if event.get("usage")), None)
        if usage is None:
            raise Failed(f"{self.server.name} gave no usage: {bytes(received[-2000:])!r}\n{self.log_tail()}")
        expected = (len(ask.prompt), ask.max_tokens)
        if (usage["prompt_tokens"], usage["completion_tokens"]) != expected:
            raise Failed(f"{self.server.name} computed {usage}, not {expected} tokens")
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return Answer(ttft or ended, usage["prompt_tokens"], usage["completion_tokens"], cached)


def events(received: bytearray) -> list[dict]:
    """The events that arrived whole."""
    lines = received[: received.rfind(b"\n") + 1].splitlines()
    data = [line[5:].strip() for line in lines if line.startswith(b"data:")]
    return [json.loads(text) for text in data if text != b"[DONE]"]


def has_text(event: dict) -> bool:
    return any(choice.get("text") for choice in event.get("choices", []))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def make_asks(options: argparse.Namespace, vocab: int, round_: int) -> list[Ask]:
    """A round's requests: every length from the shortest prompt to the longest, in random order."""
    rng = random.Random(f"{options.seed} {round_}")
    count = options.clients * options.requests
    span = options.longest - options.shortest
    lengths = [options.shortest + span * i // max(1, count - 1) for i in range(count)]
    rng.shuffle(lengths)
    # The last ids are control tokens, here as in every Llama 3.
    ids = range(int(vocab * 0.98))
    return [Ask(rng.choices(ids, k=length), options.gen, rng.getrandbits(31)) for length in lengths]


async def load(running: Running, asks: list[Ask], clients: int) -> tuple[list[Answer], float]:
    """All requests, each client's one after the other; and the seconds it took."""

    async def client(mine: list[Ask]) -> list[Answer]:
        return [await running.complete(ask) for ask in mine]

    started = time.perf_counter()
    answers = await asyncio.gather(*(client(asks[i::clients]) for i in range(clients)))
    seconds = time.perf_counter() - started
    return [answer for of_client in answers for answer in of_client], seconds


def others_cpu(pid: int) -> float:
    """Processor seconds so far of all but the server and this client; what the host took away counts."""
    user, nice, system, _, _, irq, softirq, steal = map(int, pathlib.Path("/proc/stat").read_text().split()[1:9])
    server = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = user + nice + system + irq + softirq + steal - int(server[11]) - int(server[12])
    return ticks / os.sysconf("SC_CLK_TCK") - time.process_time()


async def turn(server: Server, options: argparse.Namespace, vocab: int, round_: int) -> dict:
    async with Running(server) as running:
        warm_up = [Ask(ask.prompt[:64], 4, ask.seed) for ask in make_asks(options, vocab, -1 - round_)]
        await load(running, warm_up[: options.clients], options.clients)
        asks = make_asks(options, vocab, round_)
        client, others = time.process_time(), others_cpu(running.process.pid)
        answers, seconds = await load(running, asks, options.clients)
        client, others = time.process_time() - client, others_cpu(running.process.pid) - others
    prompt = sum(answer.prompt_tokens for answer in answers)
    generated = sum(answer.generated_tokens for answer in answers)
    cached = sum(answer.cached_tokens for answer in answers)
    if cached > prompt / 100:
        raise Failed(f"{server.name} had {cached} of {prompt} prompt tokens in a cache")
    ttft = sorted(answer.ttft_s for answer in answers)
    return {
        "total_tps": (prompt + generated) / seconds,
        "generated_tps": generated / seconds,
        "ttft_median_s": statistics.median(ttft),
        "ttft_p95_s": ttft[max(0, -(-len(ttft) * 95 // 100) - 1)],
        "ttft_worst_s": ttft[-1],
        "prompt_tokens": prompt,
        "generated_tokens": generated,
        "seconds": seconds,
        "client_cores": client / seconds,
        "others_cores": max(0.0, others / seconds),
    }


async def read_vocab(server: Server) -> int:
    async with Running(server) as running:
        return running.model["meta"]["n_vocab"]


def make_servers(options: argparse.Namespace) -> list[Server]:
    threads, clients = str(options.threads), str(options.clients)
    ours = [options.garrison, "serve", "--model", options.model, "--threads", threads,
            "--max-seqs", clients, "--context", str(options.context), *shlex.split(options.garrison_args)]
    theirs = [options.llama_server, "--model", options.model, "--threads", threads, "--threads-batch", threads,
              "--parallel", clients, "--ctx-size", str(options.clients * options.context), "--cont-batching",
              "--no-cache-prompt", "--cache-ram", "0", *shlex.split(options.llama_args)]
    layouts = {
        "split": Server("llama.cpp", [*theirs, "--no-kv-unified"]),
        "unified": Server("llama.cpp --kv-unified", [*theirs, "--kv-unified"]),
    }
    peers = layouts.values() if options.kv == "both" else [layouts[options.kv]]
    return [Server("Garrison", ours), *peers]


def print_table(ours: str, theirs: str, rounds: list[dict]) -> None:
    print(f"\n| | {ours} | {theirs} | ratio (median) | range |")
    print("| --- | --- | --- | --- | --- |")
    rows = [("total_tps", "prompt and generated tokens/s"), ("generated_tps", "generated tokens/s"),
            ("ttft_median_s", "time to first token, median, s"), ("ttft_p95_s", "time to first token, 95%, s"),
            ("ttft_worst_s", "time to first token, worst, s")]
    for key, label in rows:
        ratios = sorted(r[ours][key] / r[theirs][key] for r in rounds)
        a, b = (statistics.median(r[name][key] for r in rounds) for name in (ours, theirs))
        digits = 1 if key.endswith("tps") else 2 if b >= 1 else 3
        print(f"| {label} | {a:.{digits}f} | {b:.{digits}f} | {statistics.median(ratios):.2f} "
              f"| {ratios[0]:.2f} to {ratios[-1]:.2f} |")


def version(llama_server: str) -> str:
    said = subprocess.run([llama_server, "--version"], check=True, capture_output=True, text=True)
    found = re.search(r"version: (.*)", said.stdout + said.stderr)
    return found[1] if found else "unknown"


async def run(options: argparse.Namespace) -> None:
    servers = make_servers(options)
    vocab = await read_vocab(servers[1])
    rounds = []
    for i in range(options.rounds):
        first = i % len(servers)
        results = {s.name: await turn(s, options, vocab, i) for s in servers[first:] + servers[:first]}
        rounds.append(results)
        print(f"round {i + 1}: {json.dumps(results)}", file=sys.stderr)
    client, others = (max(result[key] for results in rounds for result in results.values())
                      for key in ("client_cores", "others_cores"))
    one = rounds[0][servers[0].name]
    print(f"{pathlib.Path(options.model).name}, {options.threads} threads, {options.clients} clients, "
          f"{options.clients * options.requests} requests a round, {one['prompt_tokens']} prompt and "
          f"{one['generated_tokens']} generated tokens, {options.rounds} rounds in turn; llama-server "
          f"{version(options.llama_server)}. In any turn the client took at most {client:.2f} cores, "
          f"other programs at most {others:.2f}.")
    for peer in servers[1:]:
        print_table(servers[0].name, peer.name, rounds)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(rounds, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--garrison", required=True)
    parser.add_argument("--llama-server", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=2, help="of each client in a round")
    parser.add_argument("--shortest", type=int, default=64)
    parser.add_argument("--longest", type=int, default=512)
    parser.add_argument("--gen", type=int, default=64)
    parser.add_argument("--context", type=int, default=640, help="tokens of prompt and answer, for each client")
    parser.add_argument("--kv", choices=["split", "unified", "both"], default="both", help="of llama.cpp")
    parser.add_argument("--llama-args", default="", help="further ones, such as '--batch-size 512'")
    parser.add_argument("--garrison-args", default="", help="further ones, such as '--config garrison.toml'")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json")
    options = parser.parse_args()
    if options.longest + options.gen > options.context:
        parser.error("the longest prompt and its answer are more than --context")
    pathlib.Path(options.model).read_bytes()  # into the page cache
    try:
        asyncio.run(run(options))
    except Failed as failed:
        sys.exit(f"serve_load: {failed}")


if __name__ == "__main__":
    main()
