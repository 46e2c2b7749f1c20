"""Writes the held-out sets: `eval.jsonl` for the project's tests, and the dev set used while training.

One case per line: {"kind", "messages", "expect"}, where `expect` holds one of
  {"contains": text}  the answer contains the text,
  {"equals": text}    the answer is the text,
  {"json": object}    the answer parses as JSON equal to the object;
the cases of the adapters (adapter_eval.py) may have with it
  {"any": [texts]}    the answer contains one of the texts.

Kinds: `fact` (known question templates filled in ways that training never sees), `fact_new`
(questions that no training template makes; those of the eval set were written by somebody who
had read the answers only), `smalltalk`, `passage`, `passage_missing`, `ticket`,
`ticket_new` (wordings that training never uses), `note` and `multiturn`.
"""

import json
import random
import sys
from pathlib import Path

import passages
import tickets
from conversations import assistant, note_case, user
from facts import FACTS, SMALLTALK, held_out_question, new_question, train_question

COUNTS = {
    "eval": {"fact": 70, "fact_new": 40, "smalltalk": 15, "passage": 60, "passage_missing": 15, "ticket": 30, "ticket_new": 15,
             "note": 10, "multiturn": 20},
    "dev": {"fact": 36, "fact_new": 24, "smalltalk": 10, "passage": 40, "passage_missing": 12, "ticket": 20, "ticket_new": 8,
            "note": 8, "multiturn": 12},
}
SYSTEM = {"role": "system", "content": "You are the support assistant for the Brookvane W2."}


def _fact(rng: random.Random, facts: list, split: str, i: int) -> tuple[str, str]:
    for step in range(len(facts)):
        fact = facts[(i * 37 + step) % len(facts)]
        question = held_out_question(rng, fact, split)
        if question:
            return question, fact.check
    raise RuntimeError("no held-out question left")


def _passage(rng: random.Random, split: str, missing: bool) -> tuple[list[dict], dict]:
    while True:
        p = passages.make(rng, split)
        wanted = [q for q in p.questions if (q[2] is None) == missing]
        if wanted:
            ask, answer, v = wanted[0]
            expect = {"contains": v} if v else {"equals": answer}
            return passages.prompt(rng, p, ask), expect


def _ticket(rng: random.Random, split: str, new: bool) -> tuple[list[dict], dict]:
    text, label, priority = tickets.make(rng, split, new_wording=new)
    return tickets.prompt(rng, text), {"json": {"class": label, "priority": priority}}


def case(rng: random.Random, split: str, kind: str, i: int) -> tuple[list[dict], dict]:
    opening = [SYSTEM] if i % 2 else []
    if kind in ("fact", "smalltalk"):
        question, check = _fact(rng, FACTS if kind == "fact" else SMALLTALK, split, i)
        return opening + [user(question)], {"contains": check}
    if kind == "fact_new":
        pool = [f for f in FACTS if f.new_questions(split)]
        fact = pool[i * 37 % len(pool)]
        return opening + [user(new_question(rng, fact, split))], {"contains": fact.check}
    if kind in ("passage", "passage_missing"):
        return _passage(rng, split, kind == "passage_missing")
    if kind in ("ticket", "ticket_new"):
        return _ticket(rng, split, kind == "ticket_new")
    if kind == "note":
        messages, v = note_case(rng, split)
        return opening + messages, {"contains": v}
    before = rng.sample(FACTS, rng.randint(1, 3))
    turns = [m for f in before for m in (user(train_question(rng, f)), assistant(f.answer))]
    question, check = _fact(rng, FACTS, split, i * 11 + 5)
    return opening + turns + [user(question)], {"contains": check}


def build(split: str, seed: int) -> list[dict]:
    """All cases of a split, without duplicates."""
    rng = random.Random(seed)
    cases, seen = [], set()
    for kind, count in COUNTS[split].items():
        made, i = 0, 0
        while made < count:
            messages, expect = case(rng, split, kind, i)
            i += 1
            key = json.dumps(messages)
            if key not in seen:
                seen.add(key)
                cases.append({"kind": kind, "messages": messages, "expect": expect})
                made += 1
    return cases


def right(answer: str, expect: dict) -> bool:
    """Whether an answer meets its expectation."""
    if not any(text in answer for text in expect.get("any", [""])):
        return False
    if "contains" in expect:
        return expect["contains"] in answer
    if "equals" in expect:
        return answer.strip() == expect["equals"]
    try:
        return json.loads(answer) == expect["json"]
    except ValueError:
        return False


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text("".join(json.dumps(c, ensure_ascii=False) + "\n" for c in build("eval", seed=20262)))
    print(f"{sum(1 for _ in target.open())} cases in {target}")
