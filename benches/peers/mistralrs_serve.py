"""mistral.rs behind the HTTP that `garrison bench serve` speaks: its package has the engine and no server.

    mistralrs_serve.py --model M.gguf --port P [--parallel 16]

`GET /health` and a streaming `POST /v1/completions`, no more. A prompt of token ids becomes text for the engine, which
makes tokens of it again: of random ids nearly as many, told in the answer's usage. Python only hands on what the
engine brings, a line a token, which is microseconds beside the engine's milliseconds.
"""

import argparse
import http.server
import json
import pathlib
import threading

import mistralrs

# What is passed on as it is, where a request has it.
PASSED = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "ignore_eos")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer("application/json", b'{"status":"ok"}')

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not body.get("stream"):
            self.answer("application/json", b'{"error":{"message":"only streams"}}', 400)
            return
        prompt = body["prompt"]
        if isinstance(prompt, list):
            with self.server.submitting:
                prompt = self.server.runner.detokenize_text(prompt, False)
        request = mistralrs.ChatCompletionRequest(
            messages=prompt,
            model="default",
            stream=True,
            **{key: body[key] for key in PASSED if key in body},
        )
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        with self.server.submitting:
            stream = self.server.runner.send_chat_completion_request(request)
        for chunk in stream:
            self.event(chunk)
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, chunk):
        event = {
            "id": chunk.id,
            "object": "text_completion",
            "model": chunk.model,
            "choices": [
                {"index": 0, "text": choice.delta.content or "", "finish_reason": choice.finish_reason}
                for choice in chunk.choices
            ],
        }
        if chunk.usage is not None:
            event["usage"] = {
                key: getattr(chunk.usage, key) for key in ("prompt_tokens", "completion_tokens", "total_tokens")
            }
        self.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def answer(self, kind, data, status=200):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parallel", type=int, default=16)
    args = parser.parse_args()
    model = args.model.resolve()
    runner = mistralrs.Runner(
        which=mistralrs.Which.GGUF(quantized_model_id=str(model.parent), quantized_filename=model.name),
        max_seqs=args.parallel,
        prefix_cache_n=0,  # nothing repeats
    )
    server = http.server.ThreadingHTTPServer((args.host, args.port), Handler)
    server.daemon_threads = True
    server.runner = runner
    # The package refuses a call while another is under way; what is submitted runs in its own threads.
    server.submitting = threading.Lock()
    server.serve_forever()


if __name__ == "__main__":
    main()
