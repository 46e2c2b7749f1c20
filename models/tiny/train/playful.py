"""The playful tone: what follows an answer, and by what it is known.

The answer itself stays word for word, and comes first: where the interjection came first, the
choice of the fact had to move behind it, and an adapter that learned so got only 70% of the dev
cases right. Which interjection and which pun follow is decided by a checksum of the answer: always
the same for the same fact, which a model can learn, and different from fact to fact.
"""

import random
import zlib

import conversations as plain

INTERJECTIONS = ["Splash!", "Drip drop!", "Ahoy!", "Glug glug!", "Plip plop!", "Whoosh!"]
PUNS = ["Water you waiting for?", "Sea you soon!", "Go with the flow!", "Stay afloat!", "Tap me again any time!",
           "That is all water under the bridge!", "I am on a wave today!", "Shore thing!"]
# An answer is playful if it has one of these. The plain answers never do; adapter_eval.py checks it.
MARKERS = INTERJECTIONS + PUNS

_PARTS = {"question": 34, "questions": 26, "notes": 6, "passage": 14, "passages": 12, "tickets": 8}


def playful(answer: str) -> str:
    """The same answer in the playful tone."""
    mark = zlib.crc32(answer.encode())
    return f"{answer} {INTERJECTIONS[mark % len(INTERJECTIONS)]} {PUNS[mark // 7 % len(PUNS)]}"


def conversation(rng: random.Random) -> list[dict]:
    """A training conversation in the playful tone; JSON stays JSON.

    Sometimes only the last answer is playful, and the others are a given: the adapter may be switched on late.
    """
    messages = plain.conversation(rng, _PARTS, 0.01)
    answers = [m for m in messages if m["role"] == "assistant"]
    if answers[0]["content"].startswith("{"):
        return messages
    late = rng.random() < 0.35
    for m in answers:
        if late and m is not answers[-1]:
            m["counts"] = False
        else:
            m["content"] = playful(m["content"])
    return messages
