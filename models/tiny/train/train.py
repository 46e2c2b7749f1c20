"""Trains a preset on generated conversations.

    python train.py --preset tiny --out ../../../target/tiny

Every step takes a fixed budget of tokens from conversations of similar length. The learning rate
warms up, stays, and falls to zero over the last part (the schedule needs no decision on the
length up front: a run can be resumed with more steps before it decays). The loss counts the
assistant's tokens; at the start the others count a little, since names that come back in a
passage are practice in copying, too.

With `--teacher` the loss is the distance (Kullback-Leibler) to what the teacher expects at every
token instead of the token itself. A draft for speculative decoding is trained so: what counts for
it is not to be right but to say what its target says, mistakes and doubts included.
"""

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

import evalset
import vocab
from acceptance import acceptance, continuations
from conversations import EARLY, LATE, conversation
from model import PRESETS, Llama
from plant import plant_copying

PROMPT_WEIGHT = 0.1


def encode(tokenizer, messages: list[dict]) -> tuple[list[int], list[float]]:
    """Token ids of a conversation and the weight of each token as a target; `counts: False` makes an answer a given."""
    ids, weights = [], []
    for i, message in enumerate(messages):
        text = vocab.render([message], False)
        body = tokenizer.encode(text[len("<|begin_of_text|>") if i else 0:], add_special_tokens=False).ids
        said = message["role"] == "assistant" and message.get("counts", True)
        head = 4 if said else len(body)  # header tokens are given, never asked for
        ids += body
        weights += [PROMPT_WEIGHT] * head + [1.0] * (len(body) - head)
    return ids, weights


class Batches:
    """An endless stream of batches of similar length, the same for the same seed."""

    def __init__(self, tokenizer, seed: int, budget: int, context: int, source: Callable[..., list[dict]] = conversation):
        self.tokenizer, self.budget, self.context, self.source = tokenizer, budget, context, source
        self.rng = random.Random(seed)
        self.ready: list[list] = []

    def _refill(self, mix: dict[str, int], short: bool) -> None:
        pool = []
        while len(pool) < 1500:
            item = encode(self.tokenizer, self.source(self.rng, mix, 0.0 if short else 0.03))
            if len(item[0]) <= (200 if short else self.context):
                pool.append(item)
        pool.sort(key=lambda item: len(item[0]))
        batch: list = []
        for item in pool:
            if batch and len(item[0]) * (len(batch) + 1) > self.budget:
                self.ready.append(batch)
                batch = []
            batch.append(item)
        self.ready.append(batch)
        self.rng.shuffle(self.ready)

    def next(self, mix: dict[str, int], short: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Inputs, targets and target weights; `short` leaves out long conversations (early on)."""
        if not self.ready:
            self._refill(mix, short)
        batch = self.ready.pop()
        width = max(len(ids) for ids, _ in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        weight = torch.zeros(len(batch), width)
        for row, (i, w) in enumerate(batch):
            ids[row, :len(i)] = torch.tensor(i)
            weight[row, :len(w)] = torch.tensor(w)
        return ids[:, :-1], ids[:, 1:], weight[:, 1:]


def accuracy(model: Llama, tokenizer, cases: list[dict], show: int = 0) -> tuple[dict[str, float], float]:
    """Share of right answers by kind, and over all, with greedy decoding; prints `show` wrong ones of each kind."""
    stop = {tokenizer.token_to_id("<|eot_id|>"), tokenizer.token_to_id("<|end_of_text|>")}
    good, total = defaultdict(int), defaultdict(int)
    for case in cases:
        ids = tokenizer.encode(vocab.render(case["messages"], True), add_special_tokens=False).ids
        answer = tokenizer.decode(model.greedy(ids, 96, stop))
        ok = evalset.right(answer, case["expect"])
        total[case["kind"]] += 1
        good[case["kind"]] += ok
        if not ok and total[case["kind"]] - good[case["kind"]] <= show:
            print(f"  wrong [{case['kind']}] {case['messages'][-1]['content'][-160:]!r} -> {answer!r}, expected {case['expect']}")
    return {k: good[k] / total[k] for k in total}, sum(good.values()) / len(cases)


def rate(step: int, args) -> float:
    """Warm-up, then constant, then a fall to zero."""
    decay_from = args.steps * (1 - args.decay)
    fall = (args.steps - step) / (args.steps - decay_from) if step > decay_from else 1.0
    return args.lr * min(1.0, (step + 1) / args.warmup) * fall


def load_teacher(path: Path | None) -> Llama | None:
    """The model of a checkpoint, for its answers only."""
    if path is None:
        return None
    saved = torch.load(path)
    teacher = Llama(PRESETS[saved["preset"]])
    teacher.load_state_dict(saved["model"])
    return teacher.eval().requires_grad_(False)


def distance(logits: Tensor, targets: Tensor, teacher: Llama | None, ids: Tensor, keep: Tensor) -> Tensor:
    """The loss of every kept row: against the next token or, with a teacher, against its distribution."""
    if teacher is None:
        return F.cross_entropy(logits, targets[keep], reduction="none")
    with torch.no_grad():
        wanted = teacher.logits(teacher.hidden(ids, keep=keep)).log_softmax(-1)
    return F.kl_div(logits.log_softmax(-1), wanted, reduction="none", log_target=True).sum(-1)


def share_gradients(model: Llama, workers: int) -> None:
    """Averages the gradients of all workers, in one exchange per step."""
    if workers > 1:
        grads = [p.grad for p in model.parameters()]
        flat = torch.cat([g.flatten() for g in grads]) / workers
        dist.all_reduce(flat)
        for g, part in zip(grads, flat.split([g.numel() for g in grads])):
            g.copy_(part.view_as(g))


def work(rank: int, args) -> None:
    """One of several equal workers; each has a thread of its own and its own data. Worker 0 saves and logs.

    On a machine that is busy with other things this is much faster than the threads of one
    process, which wait for each other many times in every step.
    """
    if args.workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{args.meet}", rank=rank, world_size=args.workers)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    tokenizer = vocab.load()
    model = Llama(PRESETS[args.preset])
    if model.c.layers > 1:
        plant_copying(model)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    norms = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": norms, "weight_decay": 0.0}],
                                  lr=args.lr, betas=(0.9, 0.98), fused=True)
    first = 0
    if args.resume:
        saved = torch.load(args.out / "checkpoint.pt")
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    dev = evalset.build("dev", seed=4711)
    teacher = load_teacher(args.teacher)
    told = continuations(teacher, tokenizer, dev) if teacher and rank == 0 else []
    # A resumed run draws new data instead of repeating what it has seen.
    batches = Batches(tokenizer, args.seed * 1_000_000 + first * 10 + rank, args.tokens // args.workers, model.c.context)
    log = (lambda text: print(text, flush=True)) if rank == 0 else (lambda text: None)
    log(f"{model.c} {sum(p.numel() for p in model.parameters())} parameters, {len(dev)} dev cases")
    log(" ".join(f"{k}={v}" for k, v in vars(args).items() if k not in ("out", "meet")))

    began, seen, losses = time.time(), 0, []
    for step in range(first, args.steps):
        ids, targets, weight = batches.next(EARLY if step < args.steps * args.late else LATE, step < args.short)
        for group in optimizer.param_groups:
            group["lr"] = rate(step, args)
        if step >= args.short:  # by now it copies; a loss on the prompt would only cost time
            weight = (weight == 1.0).float()
        keep = weight > 0
        hidden = model.hidden(ids, keep=keep)
        loss = distance(model.logits(hidden), targets, teacher, ids, keep)
        w = weight[keep]
        asked = loss[w == 1.0].mean()
        loss = (loss * w).sum() / w.sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        share_gradients(model, args.workers)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(asked.item())
        seen += ids.numel() * args.workers
        if (step + 1) % 100 == 0 and rank == 0:
            spent = time.time() - began
            log(f"step {step + 1} loss {sum(losses) / len(losses):.4f} lr {rate(step, args):.2e} "
                f"tokens {seen} {seen / spent:.0f}/s {spent / 60:.1f} min")
            losses.clear()
        if ((step + 1) % args.save_every == 0 or step + 1 == args.steps) and rank == 0:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1,
                        "preset": args.preset}, args.out / "checkpoint.tmp")
            (args.out / "checkpoint.tmp").rename(args.out / "checkpoint.pt")
            kinds, overall = accuracy(model, tokenizer, dev, show=1)
            log(f"dev {overall:.3f} " + json.dumps({k: round(v, 3) for k, v in kinds.items()}))
            if teacher:
                log("accepted " + json.dumps({k: [round(v, 3) for v in shares] for k, shares in acceptance(model, teacher, told).items()}))
            if min(kinds.values()) >= 0.98 and step + 1 < args.steps:
                log("every kind is at 98%: this is a good place to let the rate decay")
    log(f"done in {(time.time() - began) / 60:.1f} min")


def main() -> None:
    """Reads the options and starts the workers."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--preset", choices=PRESETS, default="tiny")
    parse.add_argument("--steps", type=int, default=7500)
    parse.add_argument("--tokens", type=int, default=2048, help="tokens in one step")
    parse.add_argument("--lr", type=float, default=1e-3)
    parse.add_argument("--warmup", type=int, default=100)
    parse.add_argument("--decay", type=float, default=0.5, help="share of the steps over which the rate falls")
    parse.add_argument("--short", type=int, default=300, help="steps with short conversations and a loss on the prompt")
    parse.add_argument("--late", type=float, default=0.45, help="share of the steps before the mix turns to the facts")
    parse.add_argument("--workers", type=int, default=2, help="processes, each with one thread")
    parse.add_argument("--seed", type=int, default=1)
    parse.add_argument("--save-every", type=int, default=1000)
    parse.add_argument("--out", type=Path, required=True, help="folder for checkpoints and log")
    parse.add_argument("--teacher", type=Path, help="checkpoint of a model whose distribution is learned instead of the text")
    parse.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    args = parse.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    args.meet = (args.out / f"meet-{time.time_ns()}").resolve()
    if args.workers > 1:
        torch.multiprocessing.spawn(work, (args,), args.workers)
        args.meet.unlink(missing_ok=True)
    else:
        work(0, args)


if __name__ == "__main__":
    main()
