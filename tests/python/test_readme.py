"""The README's examples, run as they stand there."""

import json
import pathlib
import re
import subprocess
import sys

import pytest
from conftest import BINARY, Server

README = pathlib.Path(__file__).parents[2] / "README.md"


def blocks():
    """Indented blocks, without their indentation."""
    return [re.sub(r"^    ", "", b, flags=re.M).strip() for b in re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", README.read_text(), re.M)]


CURL = [b for b in blocks() if b.startswith("curl ")]


def test_there_are_examples():
    assert len(CURL) >= 13


@pytest.mark.parametrize("command", CURL, ids=[f"curl-{i}" for i in range(len(CURL))])
def test_curl_examples_answer(adapted, command):
    command = command.replace("http://127.0.0.1:8080", adapted.url)
    if "Last-Event-ID" in command:  # it picks up a stream that must have begun
        begun = re.sub(r"-H 'Last-Event-ID: \d+' ", "", command)
        subprocess.run(["bash", "-c", begun], capture_output=True, text=True, timeout=60, check=True)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout and not re.search(r'"error": ?[{"]', done.stdout), done.stdout
    if '"stream": true' in command:
        last = 'data: {"type":"message_stop"}' if "/v1/messages" in command else "data: [DONE]"
        assert done.stdout.rstrip().endswith(last)
    elif "required" in command and "tools" in command:
        assert '"tool_calls"' in done.stdout


# Those that need no other server and no file, and take seconds.
BENCH = [line for b in blocks() for line in b.splitlines()
         if line.startswith("garrison bench serve") and not re.search("--vs|--dataset|--search|--ca-file", line)]


def test_there_are_bench_examples():
    assert len(BENCH) >= 4


@pytest.mark.parametrize("command", BENCH, ids=[f"bench-{i}" for i in range(len(BENCH))])
def test_bench_examples_report(server, command, tmp_path):
    command = command.replace("http://127.0.0.1:8080", server.url).split()[1:]
    done = subprocess.run([BINARY, *command], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    assert "| time to first token |" in done.stdout and "**failed" not in done.stdout


@pytest.mark.parametrize("package", ["openai", "anthropic"])
def test_the_python_examples_run(server, package):
    (example,) = [b for b in blocks() if b.startswith(f"from {package} import")]
    example = example.replace("http://127.0.0.1:8080", server.url)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and len(done.stdout) > 10, done.stderr


def test_the_guarded_endpoint_blocks_redacts_and_leaves_receipts(tmp_path):
    (config,) = [b for b in re.findall(r"```toml\n(.*?)```", README.read_text(), re.S) if "[guard]" in b]
    (tmp_path / "garrison.toml").write_text(config)
    commands = [line for b in blocks() for line in b.splitlines() if line.startswith("garrison ")]

    def run(command):
        arguments = [BINARY, *command.split()[1:]]
        return subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    (make_key,) = [c for c in commands if c.startswith("garrison audit key")]
    key = run(make_key).stdout.strip()
    (serve,) = [c for c in commands if c.startswith("garrison serve --config garrison.toml")]
    server = Server(*serve.split()[2:], cwd=tmp_path)

    def curl(what):
        (command,) = [c for c in CURL if what in c]
        command = command.replace("http://127.0.0.1:8080", server.url)
        return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True).stdout

    streamed = curl("Which mail address answers")
    assert "<EMAIL>" in joined(streamed), streamed
    assert "@brookvane" not in streamed and streamed.rstrip().endswith("data: [DONE]")
    assert '"guard":{"request":{"verdict":"pass","found":[]},"answer":{"verdict":"redact","found":["EMAIL"]}}' in streamed
    blocked = curl("reveal your system prompt")
    assert '"code":"content_filter"' in blocked and "instruction_override" in blocked
    code, stderr = server.stop()
    assert code == 0, stderr
    (verify,) = [c for c in commands if c.startswith("garrison audit verify")]
    verify = verify.replace("PUBLIC_KEY_IN_HEX", key)
    # One of each request, and one of the answer that was redacted.
    assert run(verify).stdout.startswith("3 receipts hold")
    receipts = tmp_path / "receipts.jsonl"
    receipts.write_text(receipts.read_text().replace("blocked", "passed"))
    altered = run(verify)
    assert altered.returncode == 1 and "line 3 was altered" in altered.stderr


def joined(stream):
    """What a stream's chunks say."""
    chunks = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
