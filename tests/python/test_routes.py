"""Stock clients of each API against routes: over fake providers of each kind, and to the bundled model."""

import json
import subprocess

import anthropic
import litellm
import openai
import pytest
from conftest import BINARY, Server
from fake_providers import CACHED, CALLS, OUTPUT, PROMPT, TEXT, FakeProvider

ANSWER = "".join(TEXT)
KINDS = ["openai", "openai-responses", "anthropic"]
ASK = [{"role": "user", "content": "What is the weather like?"}]
PRIVATE = [{"role": "user", "content": "Please write to zoe@mail.example about my pipe."}]
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"], "additionalProperties": False}
CHAT_TOOL = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}
MESSAGES_TOOL = {"name": "look_up", "input_schema": SCHEMA}
RESPONSES_TOOL = {"type": "function", "name": "look_up", "parameters": SCHEMA, "strict": False}
WANTED_CALLS = [(name, arguments) for _, name, arguments in CALLS]


@pytest.fixture(scope="module")
def provider():
    provider = FakeProvider()
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def routed(provider, tmp_path_factory):
    """A server with a route to each kind of provider, and one that has nobody else to ask."""
    folder = tmp_path_factory.mktemp("routes")
    subprocess.run([BINARY, "audit", "key", folder / "key"], check=True, capture_output=True)
    config = [f'[privacy]\nreceipts = "{folder}/receipts.jsonl"\nreceipts_key = "{folder}/key"\n']
    for kind in KINDS:
        config.append(f'[[provider]]\nname = "{kind}"\nkind = "{kind}"\nbase_url = "{provider.url}"\n')
        config.append('price = { "m" = { input = 1.0, output = 2.0 } }\n')
        for name, last in ((f"auto-{kind}", "local"), (f"strict-{kind}", "refuse")):
            config.append(f'[[route]]\nname = "{name}"\ntiers = ["{kind}/m"]\nprivate = "local/garrison-tiny"\n')
            config.append(f'last_resort = "{last}"\n')
    (folder / "garrison.toml").write_text("".join(config))
    server = Server(f"--config={folder}/garrison.toml")
    yield server
    code, stderr = server.stop()
    assert code == 0, stderr


@pytest.mark.parametrize("kind", KINDS)
def test_chats(routed, kind):
    client, model = routed.client(), f"auto-{kind}"
    chat = client.chat.completions.create(model=model, messages=ASK, max_tokens=60)
    assert (chat.choices[0].message.content, chat.choices[0].finish_reason, chat.model) == (ANSWER, "stop", model)
    assert (chat.usage.prompt_tokens, chat.usage.completion_tokens) == (PROMPT, OUTPUT)
    assert chat.usage.prompt_tokens_details.cached_tokens == CACHED
    stream = client.chat.completions.create(
        model=model, messages=ASK, max_tokens=60, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER
    assert chunks[-1].usage.prompt_tokens == PROMPT
    with client.chat.completions.stream(model=model, messages=ASK, tools=[CHAT_TOOL], max_tokens=60) as stream:
        streamed = stream.get_final_completion()
    whole = client.chat.completions.create(model=model, messages=ASK, tools=[CHAT_TOOL], max_tokens=60)
    for got in (streamed, whole):
        choice = got.choices[0]
        assert choice.finish_reason == "tool_calls"
        calls = [(c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls]
        assert calls == WANTED_CALLS
    here = client.chat.completions.with_raw_response.create(model=model, messages=PRIVATE, max_tokens=8)
    assert here.headers["x-garrison-tier"] == "local/garrison-tiny" and here.parse().choices[0].message.content


@pytest.mark.parametrize("kind", KINDS)
def test_messages(routed, provider, kind):
    client, model = routed.anthropic(), f"auto-{kind}"
    options = {"model": model, "max_tokens": 60, "messages": ASK}
    whole = client.messages.create(**options)
    with client.messages.stream(**options) as stream:
        assert "".join(stream.text_stream) == ANSWER
        streamed = stream.get_final_message()
    for got in (whole, streamed):
        assert (got.content[0].text, got.stop_reason, got.model) == (ANSWER, "end_turn", model)
        assert (got.usage.cache_read_input_tokens, got.usage.output_tokens) == (CACHED, OUTPUT)
    assert whole.usage.input_tokens == PROMPT - CACHED
    whole = client.messages.create(**options, tools=[MESSAGES_TOOL])
    with client.messages.stream(**options, tools=[MESSAGES_TOOL]) as stream:
        streamed = stream.get_final_message()
    for got in (whole, streamed):
        calls = [block for block in got.content if block.type == "tool_use"]
        assert ([(c.name, c.input) for c in calls], got.stop_reason) == (WANTED_CALLS, "tool_use")
    results = [{"type": "tool_result", "tool_use_id": c.id, "content": f"found {c.input['q']}"} for c in calls]
    turns = [*ASK, {"role": "assistant", "content": got.content}, {"role": "user", "content": results}]
    client.messages.create(**{**options, "messages": turns}, system="You are brief.", tools=[MESSAGES_TOOL])
    sent = json.dumps(provider.asked[-1][1])
    assert all(word in sent for word in ("found x", "found y", "call_a", "call_b", "You are brief.")), sent
    here = client.messages.with_raw_response.create(**{**options, "messages": PRIVATE, "max_tokens": 8})
    assert here.headers["x-garrison-tier"] == "local/garrison-tiny" and here.parse().content[0].text


@pytest.mark.parametrize("kind", KINDS)
def test_responses(routed, provider, kind):
    client, model = routed.client(), f"auto-{kind}"
    options = {"model": model, "max_output_tokens": 60, "store": False}
    whole = client.responses.create(**options, input=ASK[0]["content"])
    events = list(client.responses.create(**options, input=ASK, stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == ANSWER
    for got in (whole, events[-1].response):
        assert (got.output_text, got.status, got.model) == (ANSWER, "completed", model)
        usage = got.usage
        assert (usage.input_tokens, usage.input_tokens_details.cached_tokens, usage.output_tokens) == (PROMPT, CACHED, OUTPUT)
    got = client.responses.create(**options, input=ASK, tools=[RESPONSES_TOOL])
    streamed = list(client.responses.create(**options, input=ASK, tools=[RESPONSES_TOOL], stream=True))[-1].response
    for response in (got, streamed):
        calls = [item for item in response.output if item.type == "function_call"]
        assert [(c.name, json.loads(c.arguments)) for c in calls] == WANTED_CALLS
    results = [{"type": "function_call_output", "call_id": c.call_id, "output": "found it"} for c in calls]
    client.responses.create(**options, input=[*ASK, *got.output, *results], tools=[RESPONSES_TOOL])
    sent = json.dumps(provider.asked[-1][1])
    assert all(word in sent for word in ("found it", "call_a", "call_b")), sent
    here = client.responses.with_raw_response.create(**{**options, "max_output_tokens": 8}, input=PRIVATE)
    assert here.headers["x-garrison-tier"] == "local/garrison-tiny" and here.parse().output_text


@pytest.mark.parametrize("kind", KINDS)
def test_litellm_as_client(routed, kind):
    """As an OpenAI client and as Anthropic's, since LiteLLM is what many applications call through."""
    for model, base in ((f"openai/auto-{kind}", f"{routed.url}/v1"), (f"anthropic/auto-{kind}", routed.url)):
        options = {"model": model, "api_base": base, "api_key": "none", "max_tokens": 60, "num_retries": 0}
        whole = litellm.completion(messages=ASK, **options)
        assert whole.choices[0].message.content == ANSWER and whole.usage.prompt_tokens == PROMPT
        parts = litellm.completion(messages=ASK, stream=True, **options)
        assert "".join(part.choices[0].delta.content or "" for part in parts) == ANSWER
        called = litellm.completion(messages=ASK, tools=[CHAT_TOOL], **options).choices[0].message.tool_calls
        assert [(c.function.name, json.loads(c.function.arguments)) for c in called] == WANTED_CALLS
    with pytest.raises(litellm.exceptions.NotFoundError):
        litellm.completion(model="openai/nobody", messages=ASK, api_base=f"{routed.url}/v1", api_key="none", num_retries=0)


# The last, since tiers that fail are left alone for a while.
@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_each_apis_own(kind, routed):
    failing = [{"role": "user", "content": "fail"}]
    broken = [{"role": "user", "content": "break"}]
    strict, client, claude = f"strict-{kind}", routed.client(), routed.anthropic()
    with pytest.raises(openai.APIError) as caught:
        list(client.chat.completions.create(model=strict, messages=broken, stream=True))
    assert caught.value.code == "provider_broke_off"
    with pytest.raises(anthropic.APIError) as told:
        list(claude.messages.create(model=strict, messages=broken, max_tokens=60, stream=True))
    assert told.value.body["error"]["code"] == "provider_broke_off"
    (last,) = list(client.responses.create(model=strict, input=broken, stream=True))[-1:]
    assert last.type == "response.failed" and "cut off" in last.response.error.message
    with pytest.raises(openai.InternalServerError) as caught:
        client.responses.create(model=strict, input=failing)
    assert caught.value.code == "providers_failed"
    with pytest.raises(anthropic.InternalServerError) as told:
        claude.messages.create(model=strict, messages=failing, max_tokens=60)
    assert told.value.body["error"]["type"] == "api_error"
