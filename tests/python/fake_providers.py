"""Providers that speak the real protocols, written from their documentation and not from Garrison's own writers: each says
one text, or two calls if it is given tools, and keeps what it was asked."""

import http.server
import json
import threading

TEXT = ["Hello ", "from ", "afar."]
CALLS = [("call_a", "look_up", {"q": "x"}), ("call_b", "look_up", {"q": "y"})]
#: Of a prompt, of which some were cached, and an answer.
PROMPT, CACHED, OUTPUT = 40, 10, 8


def chat_events(calls):
    """https://platform.openai.com/docs/api-reference/chat-streaming"""

    def chunk(delta, reason=None):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [choice]}

    yield None, chunk({"role": "assistant", "content": ""})
    for text in TEXT:
        yield None, chunk({"content": text})
    for index, (call, name, arguments) in enumerate(CALLS if calls else []):
        function = {"name": name, "arguments": ""}
        yield None, chunk({"tool_calls": [{"index": index, "id": call, "type": "function", "function": function}]})
        text = json.dumps(arguments)
        for part in (text[:3], text[3:]):
            yield None, chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield None, chunk({}, "tool_calls" if calls else "stop")
    usage = {
        "prompt_tokens": PROMPT,
        "completion_tokens": OUTPUT,
        "total_tokens": PROMPT + OUTPUT,
        "prompt_tokens_details": {"cached_tokens": CACHED},
    }
    yield None, {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [], "usage": usage}
    yield None, "[DONE]"


def messages_events(calls):
    """https://docs.anthropic.com/en/docs/build-with-claude/streaming"""

    def event(kind, **fields):
        return kind, {"type": kind, **fields}

    usage = {"input_tokens": PROMPT - CACHED, "cache_creation_input_tokens": 0, "cache_read_input_tokens": CACHED, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
    yield event("message_start", message={**message, "stop_sequence": None, "usage": usage})
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield event("ping")
    for text in TEXT:
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
    yield event("content_block_stop", index=0)
    for index, (call, name, arguments) in enumerate(CALLS if calls else [], 1):
        block = {"type": "tool_use", "id": call, "name": name, "input": {}}
        yield event("content_block_start", index=index, content_block=block)
        text = json.dumps(arguments)
        for part in ("", text[:3], text[3:]):
            yield event("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": part})
        yield event("content_block_stop", index=index)
    reason = "tool_use" if calls else "end_turn"
    yield event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": OUTPUT})
    yield event("message_stop")


def responses_events(calls):
    """https://platform.openai.com/docs/api-reference/responses-streaming"""
    number = -1

    def event(kind, **fields):
        nonlocal number
        number += 1
        return kind, {"type": kind, "sequence_number": number, **fields}

    response = {"id": "resp_1", "object": "response", "created_at": 5, "status": "in_progress", "model": "m", "output": []}
    yield event("response.created", response=response)
    yield event("response.in_progress", response=response)
    item = {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    yield event("response.output_item.added", output_index=0, item=item)
    part = {"type": "output_text", "text": "", "annotations": []}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    yield event("response.content_part.added", **at, part=part)
    for text in TEXT:
        yield event("response.output_text.delta", **at, delta=text, logprobs=[])
    part = {**part, "text": "".join(TEXT)}
    yield event("response.output_text.done", **at, text="".join(TEXT), logprobs=[])
    yield event("response.content_part.done", **at, part=part)
    output = [{**item, "status": "completed", "content": [part]}]
    yield event("response.output_item.done", output_index=0, item=output[0])
    for index, (call, name, arguments) in enumerate(CALLS if calls else [], 1):
        text = json.dumps(arguments)
        item = {"id": f"fc_{index}", "type": "function_call", "status": "in_progress", "call_id": call, "name": name, "arguments": ""}
        yield event("response.output_item.added", output_index=index, item=item)
        for part in (text[:3], text[3:]):
            yield event("response.function_call_arguments.delta", item_id=item["id"], output_index=index, delta=part)
        yield event("response.function_call_arguments.done", item_id=item["id"], output_index=index, name=name, arguments=text)
        output.append({**item, "status": "completed", "arguments": text})
        yield event("response.output_item.done", output_index=index, item=output[-1])
    usage = {
        "input_tokens": PROMPT,
        "input_tokens_details": {"cached_tokens": CACHED},
        "output_tokens": OUTPUT,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": PROMPT + OUTPUT,
    }
    yield event("response.completed", response={**response, "status": "completed", "output": output, "usage": usage})


EVENTS = {"/v1/chat/completions": chat_events, "/v1/messages": messages_events, "/v1/responses": responses_events}


class FakeProvider:
    """Speaks all three protocols. A prompt that holds `break` is broken off after the first words, one with `fail` fails."""

    def __init__(self):
        asked = self.asked = []

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                asked.append((self.path, json.loads(body)))
                if b"fail" in body:
                    self.send_error(500)
                    return
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                for name, data in EVENTS[self.path](bool(json.loads(body).get("tools"))):
                    text = data if isinstance(data, str) else json.dumps(data)
                    if b"break" in body and TEXT[-1] in text:
                        return
                    self.wfile.write((f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
