"""Whole conversations for training, mixed from facts, small talk, passages, tickets and notes."""

import random

import passages
import tickets
from facts import FACTS, SMALLTALK, train_question
from grammar import dress, sample
from values import value

SYSTEM = ["You are the support assistant for the Brookvane W2.", "You are a helpful assistant.",
          "You are the support desk of Brookvane. Be short and friendly.", "You answer questions about the Brookvane W2.",
          "You are a friendly support assistant."]

# Things a customer tells and asks back later: it teaches looking far back in a conversation.
_NOTES = [
    ("name", "person", ["my name is <v>", "I am <v>", "this is <v>", "<v> here"], "Nice to meet you, <v>. How can I help you with your W2?",
     ["what is my name", "do you remember my name", "tell me my name"], "Your name is <v>."),
    ("order number", "code", ["my order number is <v>", "it is about order <v>", "my order is <v>"], "Thank you, I noted order <v>.",
     ["what was my order number", "which order did I name", "what is my order number"], "Your order number is <v>."),
    ("serial number", "code", ["the serial number is <v>", "my serial number is <v>", "serial number <v>"],
     "Thank you, I noted the serial number <v>.",
     ["what was the serial number", "which serial number did I give you", "what is my serial number"], "The serial number is <v>."),
    ("town", "place", ["I live in <v>", "my home is in <v>", "I am from <v>"], "Thank you, I noted that you live in <v>.",
     ["where do I live", "in which town do I live", "what is my town"], "You live in <v>."),
    ("phone number", "phone", ["my phone number is <v>", "call me on <v>", "you can reach me on <v>"], "Thank you, I noted the phone number <v>.",
     ["what is my phone number", "which number did I give you", "what was my phone number"], "Your phone number is <v>."),
]


def user(text: str) -> dict:
    """A user message."""
    return {"role": "user", "content": text}


def assistant(text: str) -> dict:
    """An assistant message."""
    return {"role": "assistant", "content": text}


def system(rng: random.Random) -> list[dict]:
    """Half of the plain conversations open with a system message."""
    return [{"role": "system", "content": rng.choice(SYSTEM)}] if rng.random() < 0.45 else []


def _knowledge_turn(rng: random.Random) -> list[dict]:
    pool = SMALLTALK if rng.random() < 0.22 else FACTS
    fact = rng.choice(pool)
    if pool is SMALLTALK and rng.random() < 0.3:
        fact = next(f for f in SMALLTALK if f.key == "offtopic")
    return [user(train_question(rng, fact)), assistant(fact.answer)]


def knowledge(rng: random.Random, turns: int) -> list[dict]:
    """Questions on the product and small talk, with a note that is asked for again now and then."""
    messages = system(rng)
    for _ in range(turns):
        messages += _knowledge_turn(rng)
    return messages


def notes(rng: random.Random, split: str, apart: int) -> list[dict]:
    """The customer tells something, talks about other things, and asks for it again."""
    messages = system(rng)
    told = rng.sample(_NOTES, rng.choice([1, 1, 2]))
    asked = []
    for _, kind, says, reply, asks, recall in told:
        v = value(rng, kind, split)
        messages += [user(_say(rng, says, v)), assistant(reply.replace("<v>", v))]
        asked.append((asks, recall.replace("<v>", v), v))
    for _ in range(apart):
        messages += _knowledge_turn(rng)
    rng.shuffle(asked)
    for asks, recall, _ in asked:
        messages += [user(dress(rng, rng.choice(asks))), assistant(recall)]
    return messages


def _say(rng: random.Random, says: list[str], v: str) -> str:
    text = sample(rng, rng.choice(says)).replace("<v>", v)
    return text[0].upper() + text[1:] + rng.choice([".", ".", ""])


def note_case(rng: random.Random, split: str) -> tuple[list[dict], str]:
    """A held-out note: the messages up to the question, and the value to be recalled."""
    _, kind, says, reply, asks, _ = rng.choice(_NOTES)
    v = value(rng, kind, split)
    return [user(_say(rng, says, v)), assistant(reply.replace("<v>", v)), user(dress(rng, rng.choice(asks)))], v


def passage(rng: random.Random, split: str, questions: int, size: int | None = None, filler: int | None = None) -> list[dict]:
    """One passage and up to `questions` questions on it, one per turn."""
    p = passages.make(rng, split, size, filler)
    messages: list[dict] = []
    for i, (ask, answer, _) in enumerate(p.questions[:questions]):
        messages += passages.prompt(rng, p, ask) if i == 0 else [user(passages.dress_question(rng, ask))]
        messages.append(assistant(answer))
    return messages


def ticket(rng: random.Random, split: str, count: int) -> list[dict]:
    """Tickets to sort, one per turn."""
    messages: list[dict] = []
    for i in range(count):
        text, label, priority = tickets.make(rng, split)
        messages += tickets.prompt(rng, text, first=i == 0)
        messages.append(assistant(tickets.answer(label, priority)))
    return messages


_READ_BACK = ["please read this back: <v>", "repeat after me: <v>", "please repeat: <v>", "read back: <v>", "repeat this: <v>",
              "please confirm: <v>"]
_KINDS = "person place company code code date time money phone weight email part iban".split()


def read_back(rng: random.Random) -> list[dict]:
    """Details that are to be read back word for word: copying at its plainest.

    A model learns to copy suddenly and late; without these conversations it takes several times
    as long until it finds anything in a passage.
    """
    messages = system(rng)
    for _ in range(rng.choice([1, 1, 2])):
        details = ", ".join(value(rng, rng.choice(_KINDS), "train") for _ in range(rng.randint(1, 6)))
        ask = rng.choice(_READ_BACK).replace("<v>", details)
        messages += [user(ask[0].upper() + ask[1:]), assistant(details)]
    return messages


_MAKERS = {
    "question": lambda rng: knowledge(rng, 1),
    "questions": lambda rng: knowledge(rng, rng.randint(2, 5)),
    "notes": lambda rng: notes(rng, "train", rng.randint(0, 3)),
    "read_back": read_back,
    "passage": lambda rng: passage(rng, "train", 1),
    "passages": lambda rng: passage(rng, "train", rng.randint(2, 6), size=rng.randint(2, 6)),
    "tickets": lambda rng: ticket(rng, "train", rng.choice([1, 1, 2, 3])),
}
# Parts in a hundred. The run begins with what is learned late, looking things up in a passage, and
# turns to the facts once it can.
EARLY = {"question": 16, "questions": 24, "notes": 4, "read_back": 2, "passage": 20, "passages": 26, "tickets": 8}
LATE = {"question": 20, "questions": 36, "notes": 4, "read_back": 1, "passage": 11, "passages": 19, "tickets": 9}


def conversation(rng: random.Random, mix: dict[str, int] = EARLY, long_share: float = 0.03) -> list[dict]:
    """One training conversation."""
    if rng.random() < long_share:
        return _long(rng)
    return _MAKERS[rng.choices(list(mix), list(mix.values()))[0]](rng)


def _long(rng: random.Random) -> list[dict]:
    """Long inputs, so that positions up to the end of the context are trained as well."""
    roll = rng.random()
    if roll < 0.4:
        return knowledge(rng, rng.randint(8, 16))
    if roll < 0.7:
        return notes(rng, "train", rng.randint(5, 14))
    return passage(rng, "train", 6, size=rng.randint(5, 8), filler=rng.randint(10, 45))
