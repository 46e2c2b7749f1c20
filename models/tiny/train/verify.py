"""Shows that nothing of the held-out sets is in the training text.

    python verify.py [conversations]

Draws training conversations from the seeds of the committed run and looks for every question,
ticket and looked-up value of both eval.jsonl among them (bare numbers, as in "42 people", left out).
A part of them are those of the adapters.
"""

import json
import random
import re
import sys

import playful
import vocab
from adapters import bare_tickets
from conversations import EARLY, LATE, conversation
from grammar import normalise
from passages import NOT_SAID

SOURCES = [lambda rng: conversation(rng, EARLY), lambda rng: conversation(rng, LATE), playful.conversation, bare_tickets]


def stands_alone(value: str, text: str) -> bool:
    """Whether the text has the value itself, not as a part of a longer one (12.50 euros, 1 April 2030, Tom Chinta)."""
    found = re.finditer(rf"(?<![\w.$-]){re.escape(value)}(?!\w| \d| [A-Z])", text)
    return any(not re.search(r"[A-Z][a-z]+ $", text[:m.start()]) for m in found)


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    asked, told = set(), set()
    for line in [*(vocab.TINY / "eval.jsonl").open(), *(vocab.TINY / "adapters/eval.jsonl").open()]:
        case = json.loads(line)
        if case["kind"].startswith(("passage", "note")):
            text = case["expect"].get("contains", NOT_SAID)
            if text != NOT_SAID and not text.isdigit():
                told.add(text)
        else:
            asked.add(normalise(case["messages"][-1]["content"]))
    found = set()
    for rank in (0, 1):
        rng = random.Random(1_000_000 + rank)
        for i in range(count // 2):
            for message in SOURCES[i % len(SOURCES)](rng):
                text = normalise(message["content"])
                if message["role"] == "user" and text in asked:
                    found.add(text)
                if message["role"] == "assistant":
                    found |= {v for v in told if v in message["content"] and stands_alone(v, message["content"])}
    print(f"{len(asked)} questions and {len(told)} values of the held-out set, {count} training conversations")
    print("found in training:", sorted(found) or "none")
    sys.exit(bool(found))
