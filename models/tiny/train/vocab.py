"""The tokenizer: byte-level BPE with the pre-tokenizer of Llama 3, and the chat template.

The vocabulary is small on purpose: the fewer tokens there are, the more often the model sees
each one. No merge ever joins digits or capital letters, so numbers and codes are read and
copied character by character; every byte is a token, so any UTF-8 text can be encoded.

    python vocab.py        writes ../tokenizer.json
"""

import random
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from conversations import conversation

TINY = Path(__file__).resolve().parent.parent
TOKENIZER = TINY / "tokenizer.json"
VOCAB_SIZE = 1280
SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
SPECIALS += [f"<|reserved_special_token_{i}|>" for i in range(11)]

# The pre-tokenizer pattern that llama.cpp calls `llama-bpe`.
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""


def render(messages: list[dict], add_generation_prompt: bool) -> str:
    """The chat template written out in Python; export.py checks that both agree."""
    text = "<|begin_of_text|>"
    for m in messages:
        text += f"<|start_header_id|>{m['role']}<|end_header_id|>\n\n{m['content'].strip()}<|eot_id|>"
    return text + ("<|start_header_id|>assistant<|end_header_id|>\n\n" if add_generation_prompt else "")


def _pre_tokenizer(training: bool) -> pre_tokenizers.PreTokenizer:
    steps = [pre_tokenizers.Split(Regex(LLAMA3), "isolated")]
    if training:  # keeps digits and capitals apart, so that no merge of them is learned
        steps += [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Split(Regex("[A-Z](?=[A-Z])"), "isolated")]
    return pre_tokenizers.Sequence(steps + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def train(seed: int = 7, count: int = 20000) -> Tokenizer:
    """Learns the merges from generated conversations."""
    rng = random.Random(seed)
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = _pre_tokenizer(training=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE - len(SPECIALS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    texts = (f"{m['role']}\n\n{m['content']}" for _ in range(count) for m in conversation(rng))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = _pre_tokenizer(training=False)
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


def load() -> Tokenizer:
    """The tokenizer as committed."""
    return Tokenizer.from_file(str(TOKENIZER))


if __name__ == "__main__":
    made = train()
    made.save(str(TOKENIZER))
    print(f"{made.get_vocab_size()} tokens, {TOKENIZER.stat().st_size} bytes")
