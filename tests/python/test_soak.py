"""Minutes of everything at once: requests of all kinds, clients that leave, adapters that come and go.

Ten seconds in the tests; GARRISON_SOAK_SECONDS=600 for as long as the server should be trusted for.
"""

import json
import os
import pathlib
import random
import threading
import time

import httpx

from conftest import ROOT, Server

SECONDS = float(os.environ.get("GARRISON_SOAK_SECONDS", "10"))
# A machine may stand still for a while; who hangs is still found, by the end.
PATIENCE = max(60, SECONDS)
CLIENTS = 12
ADAPTERS = ROOT / "models/tiny/adapters"
# A cache for a few sequences only, so that they push each other out.
FLAGS = ["--max-seqs=8", "--kv-cache-gib=0.0018", "--draft-model=garrison-tiny-draft"]
SCHEMA = {"type": "array", "items": {"enum": ["leak", "pipe", "valve"]}, "maxItems": 3, "uniqueItems": True}


def resident_mb(pid: int) -> float:
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def metrics(url: str) -> dict[str, float]:
    page = httpx.get(f"{url}/metrics").text
    lines = [line.rsplit(" ", 1) for line in page.splitlines() if line and not line.startswith("#")]
    return {name.split("{")[0]: float(value) for name, value in lines if "bucket" not in name}


def body(rng: random.Random) -> dict:
    """A request of any kind; some can never be answered."""
    words = " ".join(rng.choices(["pipe", "valve", "leak", "garden", "order", "W2"], k=rng.randint(1, 150)))
    request = {
        "model": rng.choice(["garrison-tiny", "playful", "tickets", "coming", "going"]),
        "messages": [{"role": "user", "content": words * (40 if rng.random() < 0.05 else 1)}],
        "max_tokens": rng.choice([1, 8, 64, 200]),
        "temperature": rng.choice([0, 1]),
        "seed": rng.randrange(9),
        "priority": rng.randint(-2, 2),
        "ignore_eos": rng.random() < 0.3,
        "stream": rng.random() < 0.6,
    }
    if rng.random() < 0.2:
        request["response_format"] = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}
    if rng.random() < 0.1:
        request["logprobs"], request["top_logprobs"] = True, 3
    return request


def client(url: str, seed: int, until: float, seen: dict, lock: threading.Lock) -> None:
    rng = random.Random(seed)
    with httpx.Client(timeout=PATIENCE) as http:
        while time.monotonic() < until:
            kind = ask(http, url, rng)
            with lock:
                seen[kind] = seen.get(kind, 0) + 1


def ask(http: httpx.Client, url: str, rng: random.Random) -> str:
    """Sends a request, and says what became of it."""
    request = body(rng)
    leaves_after = rng.choice([None, None, 0, 3])
    with http.stream("POST", f"{url}/v1/chat/completions", json=request) as answer:
        if answer.status_code != 200:
            error = json.loads(answer.read())["error"]
            known = error["code"] in ("model_not_found", "context_length_exceeded", "rate_limit_exceeded")
            assert known or answer.status_code == 429, error
            return error["code"]
        if not request["stream"]:
            choice = json.loads(answer.read())["choices"][0]
            if "response_format" in request and choice["finish_reason"] == "stop":
                items = json.loads(choice["message"]["content"])
                assert len(items) == len(set(items)) <= 3, items
            return "answered"
        last = ""
        for i, line in enumerate(answer.iter_lines()):
            if leaves_after is not None and i > leaves_after:
                return "left"
            last = line or last
        assert last == "data: [DONE]", last
        return "streamed"


def churn(url: str, until: float, seen: dict) -> None:
    rng = random.Random(99)
    while time.monotonic() < until:
        name = rng.choice(["coming", "going"])
        if rng.random() < 0.5:
            load = {"lora_name": name, "lora_path": rng.choice(["playful", "tickets", "tickets.gguf", "nowhere"]),
                    "load_inplace": rng.random() < 0.7}
            status = httpx.post(f"{url}/v1/load_lora_adapter", json=load).status_code
        else:
            status = httpx.post(f"{url}/v1/unload_lora_adapter", json={"lora_name": name}).status_code
        assert status in (200, 400, 404), status
        seen["churned"] = seen.get("churned", 0) + 1
        time.sleep(0.01)


def test_everything_at_once(tmp_path):
    config = tmp_path / "garrison.toml"
    config.write_text(f'[engine]\nadapter_dirs = ["{ADAPTERS}"]\nadapter_slots = 2\nmax_waiting = 6\n')
    adapters = [f"--adapter={name}={ADAPTERS / name}" for name in ("playful", "tickets")]
    server = Server(f"--config={config}", *FLAGS, *adapters)
    seen: dict[str, int] = {}
    lock, failures = threading.Lock(), []
    until = time.monotonic() + SECONDS

    def run(work, *arguments):
        try:
            work(*arguments)
        except Exception as error:  # a thread's failure is the test's
            failures.append(repr(error))

    threads = [threading.Thread(target=run, args=(client, server.url, i, until, seen, lock)) for i in range(CLIENTS)]
    threads.append(threading.Thread(target=run, args=(churn, server.url, until, seen)))
    for thread in threads:
        thread.start()
    time.sleep(SECONDS / 2)
    halfway = resident_mb(server.process.pid)
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    counts = metrics(server.url)
    end = time.monotonic() + 30
    while counts["garrison:sequences_in_flight"] > 0 and time.monotonic() < end:
        time.sleep(0.1)
        counts = metrics(server.url)
    grown = resident_mb(server.process.pid) - halfway
    print(f"{seen}, {grown:.1f} MB more in the second half, {counts}")
    for gauge in ("sequences_in_flight", "num_requests_running", "num_requests_waiting", "kv_cache_usage"):
        assert counts[f"garrison:{gauge}"] == 0, gauge
    assert counts["garrison:sequences_failed_total"] == 0
    for happened in ("answered", "streamed", "left", "context_length_exceeded", "churned"):
        assert seen.get(happened, 0) > 0, (happened, seen)
    for counter in ("num_preemptions_total", "lora_swaps_total", "sequences_cancelled_total"):
        assert counts[f"garrison:{counter}"] > 0, counter
    assert grown < 24, f"{grown:.1f} MB more"
    code, logged = server.stop()
    assert code == 0, logged
    assert "panicked" not in logged
