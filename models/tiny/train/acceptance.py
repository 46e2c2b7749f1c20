"""How often a draft says what its target says: what speculative decoding gains by.

    python acceptance.py DRAFT.gguf TARGET.gguf [seed ...]

The target answers the cases of the dev split, once greedily and once at temperature 1; the draft
reads along. Greedy: the share of the target's tokens, with the one that ends the answer, that are
the draft's most likely token after the same beginning. Temperature 1: the chance that speculative
sampling keeps the draft's token, the sum over the vocabulary of min(target, draft) (Leviathan et
al. 2023, section 3.2). Both are averages over tokens, not over answers.
"""

import sys
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

import evalset
import vocab
from model import Llama

LIMIT = 96


def continuations(target: Llama, tokenizer, cases: list[dict], seed: int = 1) -> list[tuple[str, list[int], list[int], list[int]]]:
    """Per case its kind, the prompt, and the target's greedy and sampled answers."""
    stop = {tokenizer.token_to_id("<|eot_id|>"), tokenizer.token_to_id("<|end_of_text|>")}
    dice = torch.Generator().manual_seed(seed)
    greedy = lambda logits: int(logits.argmax())
    sampled = lambda logits: int(torch.multinomial(logits.softmax(-1), 1, generator=dice))
    out = []
    for case in cases:
        ids = tokenizer.encode(vocab.render(case["messages"], True), add_special_tokens=False).ids
        out.append((case["kind"], ids, target.generate(ids, LIMIT, stop, greedy), target.generate(ids, LIMIT, stop, sampled)))
    return out


def after(model: Llama, prompt: list[int], answer: list[int]) -> Tensor:
    """The logits [answer, vocab] from which each token of the answer is chosen."""
    hidden = model.hidden(torch.tensor([prompt + answer[:-1]]))[0]
    return model.logits(hidden[len(prompt) - 1:])


@torch.no_grad()
def acceptance(draft: Llama, target: Llama, told: list[tuple[str, list[int], list[int], list[int]]]) -> dict[str, tuple[float, float]]:
    """Greedy and sampled acceptance by kind, and over all."""
    same, overlap = defaultdict(list), defaultdict(list)
    for kind, prompt, greedy, sampled in told:
        hits = after(draft, prompt, greedy).argmax(-1) == torch.tensor(greedy)
        both = torch.minimum(after(draft, prompt, sampled).softmax(-1), after(target, prompt, sampled).softmax(-1)).sum(-1)
        for key in (kind, "all"):
            same[key] += hits.tolist()
            overlap[key] += both.tolist()
    mean = lambda values: sum(values) / len(values)
    return {kind: (mean(same[kind]), mean(overlap[kind])) for kind in same}


if __name__ == "__main__":
    import export

    torch.set_num_threads(1)
    draft, target = (export.read(Path(name)) for name in sys.argv[1:3])
    dev = [case for seed in map(int, sys.argv[3:] or [1, 2, 3]) for case in evalset.build("dev", seed)]
    told = continuations(target, vocab.load(), dev)
    shares = acceptance(draft, target, told)
    for kind in [*evalset.COUNTS["dev"], "all"]:
        own = [t for t in told if kind in (t[0], "all")]
        print(f"{kind:16} greedy {shares[kind][0]:.3f} temperature 1 {shares[kind][1]:.3f} "
              f"of {sum(len(t[2]) for t in own)} and {sum(len(t[3]) for t in own)} tokens in {len(own)} cases")
