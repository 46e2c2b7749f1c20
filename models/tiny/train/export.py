"""Writes a checkpoint as GGUF, checks the file by reading it back, and makes the golden outputs.

    python export.py CHECKPOINT OUT.gguf [--golden golden.json]

The matrices are stored as f16 and the norms as f32. The check runs the model from the file: the
golden continuations are those of PyTorch in f32 on the weights as they are stored, so another
engine that reads the file can be compared with them token by token.
"""

import argparse
import json
from pathlib import Path

import gguf
import jinja2.sandbox
import numpy as np
import torch

import vocab
from model import PRESETS, Config, Llama

LICENSE = "MIT OR Apache-2.0"
GOLDEN = [
    [{"role": "user", "content": "Hello"}],
    [{"role": "user", "content": "What is your product?"}],
    [{"role": "system", "content": "You are the support assistant for the Brookvane W2."},
     {"role": "user", "content": "What does error E22 mean?"}],
    [{"role": "user", "content": "How long is the warranty?"}, {"role": "assistant", "content": "The W2 has a warranty of 4 years."},
     {"role": "user", "content": "and how do I make a claim?"}],
    [{"role": "system", "content": "Answer from the passage."},
     {"role": "user", "content": "Passage: Order QX-4471 was placed in the web shop. The buyer is Ines Varlok. It was shipped on 9 May 2031. "
                                 "The total is 318 euros.\n\nQuestion: When was it shipped?"}],
    [{"role": "system", "content": "Sort the ticket. Answer as JSON with class and priority."},
     {"role": "user", "content": "Ticket: My parcel did not arrive. Please hurry!"}],
    [{"role": "user", "content": "What is the capital of Norway?"}],
    [{"role": "user", "content": "Grüße aus Köln, 水 🙂 — where is my order?"}],
]


def write(path: Path, c: Config, state: dict[str, torch.Tensor]) -> None:
    """Writes metadata, tokenizer and tensors."""
    tokenizer = vocab.load()
    w = gguf.GGUFWriter(path, "llama")
    w.add_name(c.name)
    w.add_description("A support desk for one invented product, the Brookvane W2; trained from scratch on generated text")
    w.add_license(LICENSE)
    w.add_languages(["en"])
    w.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_vocab_size(c.vocab)
    w.add_context_length(c.context)
    w.add_embedding_length(c.hidden)
    w.add_block_count(c.layers)
    w.add_feed_forward_length(c.ffn)
    w.add_head_count(c.heads)
    w.add_head_count_kv(c.kv_heads)
    w.add_layer_norm_rms_eps(c.eps)
    w.add_rope_dimension_count(c.head_dim)
    w.add_rope_freq_base(c.rope_base)
    ids = tokenizer.get_vocab()
    tokens = [t for t, _ in sorted(ids.items(), key=lambda item: item[1])]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    special = set(vocab.SPECIALS)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("llama-bpe")
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    w.add_bos_token_id(ids["<|begin_of_text|>"])
    w.add_eos_token_id(ids["<|eot_id|>"])
    w.add_eot_token_id(ids["<|eot_id|>"])
    w.add_pad_token_id(ids["<|end_of_text|>"])
    w.add_add_bos_token(True)
    w.add_chat_template(vocab.CHAT_TEMPLATE)
    for name, tensor in state.items():
        kind = np.float32 if tensor.dim() == 1 else np.float16
        w.add_tensor(name, tensor.detach().numpy().astype(kind))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def read(path: Path) -> Llama:
    """Builds the PyTorch model from nothing but the file."""
    r = gguf.GGUFReader(path)
    get = lambda key: r.fields[key].contents()
    c = Config(get("general.name"), get("llama.vocab_size"), get("llama.embedding_length"), get("llama.feed_forward_length"),
               get("llama.block_count"), get("llama.attention.head_count"), get("llama.attention.head_count_kv"),
               get("llama.context_length"), get("llama.rope.freq_base"), get("llama.attention.layer_norm_rms_epsilon"))
    model = Llama(c)
    model.load_state_dict({t.name: torch.tensor(np.array(t.data, dtype=np.float32)) for t in r.tensors})
    return model.eval()


def render_jinja(template: str, messages: list[dict], add_generation_prompt: bool) -> str:
    """Renders a chat template the way the transformers library does."""
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return env.from_string(template).render(messages=messages, add_generation_prompt=add_generation_prompt,
                                            bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")


def golden(model: Llama) -> list[dict]:
    """Greedy continuations of a few prompts, 32 tokens each, going on past the end of the turn."""
    tokenizer, out = vocab.load(), []
    for messages in GOLDEN:
        text = render_jinja(vocab.CHAT_TEMPLATE, messages, True)
        assert text == vocab.render(messages, True)
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        more = model.greedy(ids, 32, set())
        out.append({"messages": messages, "text": text, "ids": ids, "greedy": more,
                    "greedy_text": tokenizer.decode(more, skip_special_tokens=False)})
    return out


if __name__ == "__main__":
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("checkpoint", type=Path)
    parse.add_argument("out", type=Path)
    parse.add_argument("--golden", type=Path)
    args = parse.parse_args()
    torch.set_num_threads(1)
    saved = torch.load(args.checkpoint)
    write(args.out, PRESETS[saved["preset"]], saved["model"])
    results = golden(read(args.out))
    trained = Llama(PRESETS[saved["preset"]])
    trained.load_state_dict(saved["model"])
    same = sum(a["greedy"] == b["greedy"] for a, b in zip(results, golden(trained)))
    print(f"the file and the checkpoint continue {same} of {len(results)} prompts alike")
    if args.golden:
        args.golden.write_text("[\n" + ",\n".join(json.dumps(g, ensure_ascii=False) for g in results) + "\n]\n")
    for g in results:
        print(repr(g["greedy_text"]))
    print(f"{args.out}: {args.out.stat().st_size} bytes, step {saved['step']}")
