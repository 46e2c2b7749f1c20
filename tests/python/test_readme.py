"""The README's examples, run as they stand there."""

import pathlib
import re
import subprocess
import sys

import pytest
from conftest import BINARY

README = pathlib.Path(__file__).parents[2] / "README.md"


def blocks():
    """Indented blocks, without their indentation."""
    return [re.sub(r"^    ", "", b, flags=re.M).strip() for b in re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", README.read_text(), re.M)]


CURL = [b for b in blocks() if b.startswith("curl ")]


def test_there_are_examples():
    assert len(CURL) >= 11


@pytest.mark.parametrize("command", CURL, ids=[f"curl-{i}" for i in range(len(CURL))])
def test_curl_examples_answer(adapted, command):
    command = command.replace("http://127.0.0.1:8080", adapted.url)
    if "Last-Event-ID" in command:  # it picks up a stream that must have begun
        begun = re.sub(r"-H 'Last-Event-ID: \d+' ", "", command)
        subprocess.run(["bash", "-c", begun], capture_output=True, text=True, timeout=60, check=True)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout and '"error"' not in done.stdout, done.stdout
    if '"stream": true' in command:
        assert done.stdout.rstrip().endswith("data: [DONE]")
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


def test_the_python_example_runs(server):
    (example,) = [b for b in blocks() if b.startswith("from openai import")]
    example = example.replace("http://127.0.0.1:8080", server.url)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and len(done.stdout) > 10, done.stderr
