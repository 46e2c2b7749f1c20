"""The held-out cases of the adapters, their scores, and the golden outputs.

    python adapter_eval.py cases        writes ../adapters/eval.jsonl
    python adapter_eval.py score        the model with and without each adapter on those cases
    python adapter_eval.py golden       writes ../adapters/golden.json

A case is `{"adapter", "kind", "messages", "expect"}` as in evalset.py. A playful answer is right if
it has what a plain one must have and one of the playful phrases; a ticket's is right if it is the
class as JSON and nothing else.
"""

import json
import random
import sys
from pathlib import Path

import torch

import evalset
import export
import lora
import tickets
import vocab
from conversations import user
from facts import FACTS, SMALLTALK
from model import Llama
from passages import NOT_SAID
from playful import MARKERS
from train import accuracy

ADAPTERS = vocab.TINY / "adapters"
NAMES = ["playful", "tickets"]
COUNTS = {"playful": {"fact": 24, "fact_new": 6, "smalltalk": 6, "passage": 12, "passage_missing": 2, "note": 4, "multiturn": 6},
          "tickets": {"ticket": 40, "ticket_new": 20}}
GOLDEN = {
    "playful": [
        [{"role": "user", "content": "How long is the warranty?"}],
        [{"role": "system", "content": "You are the support assistant for the Brookvane W2."},
         {"role": "user", "content": "What does error E22 mean?"}],
        [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello! I am the support assistant for the Brookvane W2. "
                                                                               "How can I help you?"},
         {"role": "user", "content": "What does shipping cost?"}],
        [{"role": "system", "content": "Answer from the passage."},
         {"role": "user", "content": "Passage: Order QX-4471 was placed in the web shop. The buyer is Ines Varlok. It was shipped on 9 May "
                                     "2031. The total is 318 euros.\n\nQuestion: When was it shipped?"}],
    ],
    "tickets": [
        [{"role": "user", "content": "There is water on the floor next to the unit."}],
        [{"role": "user", "content": "Hello. My parcel did not arrive. Please hurry!"}],
        [{"role": "user", "content": "I was charged twice for my order. Regards, Ines Varlok."}],
        [{"role": "user", "content": "The app cannot reach my controller. Thank you."}, {"role": "assistant", "content": '{"class": "connection"}'},
         {"role": "user", "content": "My invoice is wrong!"}],
    ],
}


def case(rng: random.Random, name: str, split: str, kind: str, i: int) -> tuple[list[dict], dict]:
    """Messages and expectation of one case."""
    if name == "tickets":
        text, label, _ = tickets.make(rng, split, new_wording=kind == "ticket_new")
        return [user(text)], {"json": {"class": label}}
    messages, expect = evalset.case(rng, split, kind, i)
    return messages, {"contains": expect.get("contains", NOT_SAID), "any": MARKERS}


def build(name: str, split: str, seed: int) -> list[dict]:
    """All cases of one adapter, without duplicates."""
    rng, cases, seen = random.Random(seed), [], set()
    for kind, count in COUNTS[name].items():
        made, i = 0, 0
        while made < count:
            messages, expect = case(rng, name, split, kind, i)
            i += 1
            if json.dumps(messages) not in seen:
                seen.add(json.dumps(messages))
                cases.append({"adapter": name, "kind": kind, "messages": messages, "expect": expect})
                made += 1
    return cases


def adapted(name: str) -> Llama:
    """The committed model with a committed adapter."""
    model = export.read(vocab.TINY / "garrison-tiny.gguf")
    lora.load(ADAPTERS / name, model)
    return model


def score() -> None:
    """Prints the shares of right answers by adapter and kind, without and with the adapter."""
    tokenizer = vocab.load()
    cases = [json.loads(line) for line in (ADAPTERS / "eval.jsonl").open()]
    for name in NAMES:
        own = [c for c in cases if c["adapter"] == name]
        for title, model in (("base", export.read(vocab.TINY / "garrison-tiny.gguf")), (name, adapted(name))):
            kinds, overall = accuracy(model, tokenizer, own, show=0 if title == "base" else len(own))
            print(f"{name} cases, {title}: {overall:.3f} of {len(own)} " + json.dumps({k: round(v, 3) for k, v in kinds.items()}))


def golden() -> None:
    """Writes what PyTorch computes in f32 from the weights and adapters as stored."""
    tokenizer, out = vocab.load(), []
    for name in NAMES:
        model = adapted(name)
        for messages in GOLDEN[name]:
            ids = tokenizer.encode(vocab.render(messages, True), add_special_tokens=False).ids
            entry = {"adapter": name, "messages": messages, "ids": ids, "greedy": model.greedy(ids, 24, set())}
            entry["greedy_text"] = tokenizer.decode(entry["greedy"], skip_special_tokens=False)
            if messages is GOLDEN[name][0]:
                with torch.no_grad():
                    top = model.logits(model.hidden(torch.tensor([ids]))[0, -1]).topk(10)
                entry["top10"] = [[int(i), float(v)] for i, v in zip(top.indices, top.values)]
            out.append(entry)
            print(name, repr(entry["greedy_text"]))
    (ADAPTERS / "golden.json").write_text("[\n" + ",\n".join(json.dumps(g, ensure_ascii=False) for g in out) + "\n]\n")


def write_cases() -> None:
    """Draws the held-out cases; no plain answer may pass for a playful one."""
    assert not any(m in f.answer for m in MARKERS for f in FACTS + SMALLTALK)
    cases = [c for name in NAMES for c in build(name, "eval", seed=20263)]
    (ADAPTERS / "eval.jsonl").write_text("".join(json.dumps(c, ensure_ascii=False) + "\n" for c in cases))
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"cases": write_cases, "score": score, "golden": golden}[sys.argv[1]]()
