"""Starts the real server, as a user would, on a free port, and stops it with SIGTERM."""

import os
import pathlib
import re
import signal
import subprocess
import tempfile

# LiteLLM would fetch prices from the network when it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import anthropic
import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("GARRISON_BIN", str(ROOT / "target/debug/garrison"))


class Server:
    """A running `garrison serve`."""

    def __init__(self, *flags: str, cwd=None):
        # A file, since nobody reads while the server runs and a full pipe would stop it.
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [BINARY, "serve", "--port", "0", *flags],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=cwd,
        )
        ready = self.process.stdout.readline()
        match = re.fullmatch(r"ready (http://\S+) model=(\S+) device=(\S+)\n", ready)
        if match is None:
            self.process.kill()
            raise AssertionError(f"no ready line but {ready!r}; stderr: {self.logged()}")
        self.url, self.model, self.device = match.groups()

    def client(self, **options) -> openai.OpenAI:
        options.setdefault("api_key", "none")
        return openai.OpenAI(base_url=f"{self.url}/v1", max_retries=0, timeout=60, **options)

    def anthropic(self, **options) -> anthropic.Anthropic:
        options.setdefault("api_key", "none")
        return anthropic.Anthropic(base_url=self.url, max_retries=0, timeout=60, **options)

    def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        return self.process.returncode, self.logged()

    def logged(self) -> str:
        self.log.seek(0)
        return self.log.read()


@pytest.fixture(scope="session")
def server():
    server = Server()
    yield server
    code, stderr = server.stop()
    assert code == 0, stderr


@pytest.fixture(scope="session")
def adapted(tmp_path_factory):
    """The bundled model with everything that the README shows: its draft model and its adapters."""
    adapters = ROOT / "models/tiny/adapters"
    config = tmp_path_factory.mktemp("config") / "garrison.toml"
    config.write_text(f'[engine]\nadapter_dirs = ["{adapters}"]\n')
    flags = [f"--adapter={name}={adapters / name}" for name in ("playful", "tickets")]
    server = Server(f"--config={config}", "--draft-model=garrison-tiny-draft", *flags)
    yield server
    code, stderr = server.stop()
    assert code == 0, stderr


@pytest.fixture(scope="session")
def guarded(tmp_path_factory):
    """The bundled model behind a guard that blocks attacks and redacts answers."""
    config = tmp_path_factory.mktemp("config") / "garrison.toml"
    config.write_text('[guard]\ninjection = "block"\ninput = "flag"\noutput = "redact"\n')
    server = Server(f"--config={config}")
    yield server
    code, stderr = server.stop()
    assert code == 0, stderr


@pytest.fixture(scope="session")
def client(server):
    return server.client()


@pytest.fixture(scope="session")
def model(server):
    return server.model
