"""Trains the two adapters of the bundled model.

    python adapters.py playful --out ../adapters
    python adapters.py tickets --out ../adapters

`playful` turns the tone of every answer playful and leaves what it says. `tickets` answers a bare
ticket, without instruction or system message, with its class as JSON. The model is the committed
GGUF file, as stored, and is frozen. The text comes from the generators of the model's own training
and keeps to the training split. The two differ in all a loader has to get right: rank, targets,
scale (alpha / rank, and rsLoRA) and number format.
"""

import argparse
import json
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import adapter_eval
import export
import lora
import playful
import tickets
import vocab
from conversations import assistant, user
from train import Batches, accuracy

ATTENTION = ("attn_q", "attn_k", "attn_v")
ALL = ATTENTION + ("attn_output", "ffn_gate", "ffn_up", "ffn_down")


def bare_tickets(rng: random.Random) -> list[dict]:
    """One to three tickets, each answered with its class alone."""
    messages = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        text, label, _ = tickets.make(rng, "train")
        messages += [user(text), assistant(json.dumps({"class": label}))]
    return messages


SOURCES = {"playful": playful.conversation, "tickets": bare_tickets}
CONFIGS = {"playful": lora.LoraConfig(8, 16, ALL, rank_stable=False, dtype=torch.float16),
           "tickets": lora.LoraConfig(16, 16, ATTENTION, rank_stable=True, dtype=torch.float32)}
STEPS = {"playful": 600, "tickets": 500}
RATES = {"playful": 1e-3, "tickets": 2e-3}


def rate(step: int, steps: int, top: float) -> float:
    """Warm-up over 50 steps, then a straight fall to zero."""
    return top * min(1.0, (step + 1) / 50) * (1 - step / steps)


def train(name: str, args) -> None:
    """Trains one adapter, writes it, and scores it on the dev split as it was stored."""
    torch.manual_seed(args.seed)
    tokenizer, c = vocab.load(), CONFIGS[name]
    steps, lr = args.steps or STEPS[name], args.lr or RATES[name]
    model = export.read(vocab.TINY / "garrison-tiny.gguf")
    wrapped = lora.attach(model, c)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    batches = Batches(tokenizer, args.seed, args.tokens, 512, lambda rng, mix, long_share: SOURCES[name](rng))
    print(f"{name}: {c}, {sum(p.numel() for p in weights)} parameters")
    print(f"steps={steps} tokens={args.tokens} lr={lr} seed={args.seed}", flush=True)

    began, losses = time.time(), []
    for step in range(steps):
        ids, targets, weight = batches.next({}, short=False)
        keep = weight == 1.0
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps, lr)
        loss = F.cross_entropy(model.logits(model.hidden(ids, keep=keep)), targets[keep])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} loss {sum(losses) / len(losses):.4f} {(time.time() - began) / 60:.1f} min", flush=True)
            losses.clear()

    lora.save(args.out / name, model, wrapped, c)
    stored = export.read(vocab.TINY / "garrison-tiny.gguf")
    wrapped, c = lora.load(args.out / name, stored)
    if name == "tickets":
        lora.save_gguf(args.out / "tickets.gguf", wrapped, c)
    kinds, overall = accuracy(stored, tokenizer, adapter_eval.build(name, "dev", seed=4711), show=2)
    print(f"dev {overall:.3f} " + json.dumps({k: round(v, 3) for k, v in kinds.items()}))


if __name__ == "__main__":
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("name", choices=SOURCES)
    parse.add_argument("--steps", type=int, help="default: 600 for playful, 500 for tickets")
    parse.add_argument("--tokens", type=int, default=1024, help="tokens in one step")
    parse.add_argument("--lr", type=float, help="default: 0.001 for playful, 0.002 for tickets")
    parse.add_argument("--seed", type=int, default=1)
    parse.add_argument("--out", type=Path, required=True)
    args = parse.parse_args()
    torch.set_num_threads(1)
    train(args.name, args)
