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
    assert len(CURL) >= 20


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
    elif "response_format" in command or "structured_outputs" in command or "tool_choice" in command:
        check_form(json.loads(re.search(r"-d '(.*)'", command, re.S).group(1)), json.loads(done.stdout))


def check_form(asked, answer):
    """Whether an answer has the form that was asked for."""
    (choice,) = answer["choices"]
    content, calls = choice["message"]["content"], choice["message"].get("tool_calls")
    wanted = asked.get("structured_outputs", {})
    assert choice["finish_reason"] == ("tool_calls" if calls else "stop")
    if "choice" in wanted:
        assert content in wanted["choice"]
    elif "regex" in wanted:
        assert re.fullmatch(wanted["regex"], content)
    elif "grammar" in wanted:
        assert re.fullmatch("zone [1-9], [1-9][0-9]? minutes", content)
    elif "response_format" in asked:
        kind = list if "tags" in str(asked) else dict
        assert isinstance(json.loads(content), kind)
    elif asked["tool_choice"] == "none":
        assert calls is None and content
    elif asked["tool_choice"] == "auto":
        assert content or len(calls) == 1
    else:
        (call,) = calls
        names = [tool["function"]["name"] for tool in asked["tools"]]
        named = asked["tool_choice"] != "required" and asked["tool_choice"]["function"]["name"]
        assert call["function"]["name"] == (named or names[0])
        assert json.loads(call["function"]["arguments"])["zone"] in ("garden", "house")


# Those that serve the bundled model and need no file of the reader's.
SERVE = [line.split("#")[0].split()[2:] for b in blocks() for line in b.splitlines()
         if line.startswith("garrison serve ") and not re.search("--model|--config", line)]


def test_there_are_serve_examples():
    assert len(SERVE) >= 5


@pytest.mark.parametrize("flags", SERVE, ids=" ".join)
def test_serve_examples_answer(flags, tmp_path):
    server = Server(*(str(tmp_path) if flag == "/var/tmp" else flag for flag in flags), cwd=README.parent)
    models = [model.id for model in server.client().models.list()]
    adapters = [value.split("=")[0] for flag, value in zip(flags, flags[1:]) if flag == "--adapter"]
    assert models == ["garrison-tiny", *adapters]
    for model in models:
        turn = {"role": "user", "content": "The pipe under my sink drips since yesterday."}
        answer = server.client().chat.completions.create(model=model, messages=[turn], max_tokens=40, temperature=0)
        assert answer.choices[0].message.content
    code, stderr = server.stop()
    assert code == 0, stderr


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
