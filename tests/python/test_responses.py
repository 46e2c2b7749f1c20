"""The stock OpenAI client's Responses against the bundled model."""

import json

import openai
import pytest
from test_openai import QUESTION, TICKET, Plan, is_ticket

ASKED = QUESTION[0]["content"]
VALVE = {
    "type": "function",
    "name": "open_valve",
    "parameters": {
        "type": "object",
        "additionalProperties": False,
        "required": ["zone"],
        "properties": {"zone": {"enum": ["garden", "house"]}},
    },
    "strict": True,
}


def ask(client, model, input=ASKED, **options):
    options = {"temperature": 0, "max_output_tokens": 64, "store": False, **options}
    return client.responses.create(model=model, input=input, **options)


def test_a_response_says_what_a_chat_says(client, model):
    response = ask(client, model)
    chat = client.chat.completions.create(model=model, messages=QUESTION, temperature=0, max_tokens=64)
    assert response.output_text == chat.choices[0].message.content
    assert (response.status, response.model, response.object) == ("completed", model, "response")
    assert response.usage.input_tokens == chat.usage.prompt_tokens
    assert response.usage.output_tokens == chat.usage.completion_tokens
    assert response.usage.input_tokens_details.cached_tokens >= 0
    assert response.model_extra["timings"]["generated_tokens"] == response.usage.output_tokens


def test_a_stream_says_the_same(client, model):
    whole = ask(client, model)
    events = list(ask(client, model, stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == whole.output_text and events[0].type == "response.created"
    assert events[-1].type == "response.completed" and events[-1].response.output_text == text
    with client.responses.stream(model=model, input=ASKED, temperature=0, max_output_tokens=64) as stream:
        assert stream.until_done().get_final_response().output_text == text


def test_instructions_and_limits(client, model):
    turns = [{"role": "system", "content": "You are brief."}, *QUESTION]
    chat = client.chat.completions.create(model=model, messages=turns, temperature=0, max_tokens=64)
    response = ask(client, model, instructions="You are brief.")
    assert response.output_text == chat.choices[0].message.content and response.instructions == "You are brief."
    short = ask(client, model, max_output_tokens=3)
    assert (short.status, short.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert list(ask(client, model, max_output_tokens=3, stream=True))[-1].type == "response.incomplete"


def test_tools_are_called_and_answered(client, model):
    asked = {"tools": [VALVE], "tool_choice": "required", "max_output_tokens": 200}
    response = ask(client, model, **asked)
    events = list(ask(client, model, stream=True, **asked))
    call = response.output[-1]
    assert call.type == "function_call" and call.name == "open_valve"
    assert json.loads(call.arguments)["zone"] in ("garden", "house")
    said = "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta")
    assert json.loads(said) == json.loads(call.arguments)
    assert events[-1].response.output[-1].arguments == said
    # What came back goes in again, as the client's documentation has it.
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
    after = ask(client, model, [*QUESTION, *response.output, result], tools=[VALVE])
    assert after.usage.input_tokens > response.usage.input_tokens


def test_answers_follow_a_schema(client, model):
    form = {"format": {"type": "json_schema", "name": "ticket", "strict": True, "schema": TICKET}}
    assert is_ticket(ask(client, model, text=form, max_output_tokens=300).output_text)
    parsed = client.responses.parse(
        model=model, input=ASKED, text_format=Plan, temperature=1, max_output_tokens=400, extra_body={"seed": 1}
    )
    assert isinstance(parsed.output_parsed, Plan)


def test_errors_name_the_field(client, model):
    with pytest.raises(openai.NotFoundError):
        ask(client, "gpt-none")
    for more, param in [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"uniqeItems": True}}}}, "text.format.schema"),
        ({"temperature": 3}, "temperature"),
        ({"input": "word " * 5000}, "input"),
    ]:
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, model, **more)
        assert caught.value.param == param, caught.value
