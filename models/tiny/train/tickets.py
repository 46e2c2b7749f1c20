"""Tickets that are sorted into a class and a priority, answered as JSON."""

import json
import random

from facts import DATA
from grammar import roughen, sample, sample_in, split_of
from values import value

CLASSES: dict[str, dict[str, list[str]]] = {}
for _line in (DATA / "tickets.txt").read_text().splitlines():
    if _line and not _line.startswith("#"):
        _mark, _rest = _line.split(" ", 1)
        if _mark == "@":
            CLASSES[_rest] = {"T": [], "H": []}
        else:
            list(CLASSES.values())[-1][_mark].append(_rest)

_URGENT = ["this is {very|really|} urgent", "please {hurry|act fast|be quick}", "I need help {right now|at once|immediately|today}",
           "{it|this} cannot wait", "{please|} {answer|help} as soon as possible", "this is an emergency", "urgent!", "help me now",
           "{every minute|every hour} counts"]
_CALM = ["{there is|} no rush", "no hurry{ at all|}", "{it|this} is not urgent", "whenever you have time", "take your time",
         "{it|this} can wait", "just {for your information|so you know}", "answer when you can"]
_NEUTRAL = ["my order number is <code>", "I bought it in <year>", "my name is <person>", "I live in <place>", "regards, <person>",
            "thank you", "the serial number is <code>", "you can call me on <phone>", "I am a customer since <year>", "best wishes",
            "the W2 is {white|grey}", "I wrote to you before"]
_OPEN = ["hello", "hi", "dear team", "good morning", "hello Brookvane"]

_LIST = ", ".join(CLASSES)
SYSTEM = ["Sort the ticket. Answer as JSON with class and priority.",
          f"Sort the ticket into one class ({_LIST}) and one priority (high, normal, low). Answer as JSON.",
          "You sort support tickets. Reply with JSON only.", "Classify the ticket as JSON."]
ASK = ["Ticket: <t>", "Sort this ticket: <t>", "Classify this ticket: <t>", "Sort this ticket into JSON: <t>",
       "Which class and priority has this ticket? <t>", "Ticket:\n<t>"]


def _fill(rng: random.Random, text: str, split: str) -> str:
    for kind in ("code", "year", "person", "place", "phone"):
        if f"<{kind}>" in text:
            text = text.replace(f"<{kind}>", value(rng, kind, split))
    return text


def answer(label: str, priority: str) -> str:
    """The exact JSON text the model learns to write."""
    return json.dumps({"class": label, "priority": priority})


def make(rng: random.Random, split: str, new_wording: bool = False) -> tuple[str, str, str]:
    """A ticket text with its class and priority; `new_wording` uses the held-out templates."""
    label = rng.choice(list(CLASSES))
    if new_wording:
        # The first wording of a class belongs to dev, the others to eval.
        core = sample(rng, rng.choice(CLASSES[label]["H"][:1] if split == "dev" else CLASSES[label]["H"][1:]))
    else:
        core = sample_in(rng, CLASSES[label]["T"], split, tries=2000)
    if split == "train":
        core = roughen(rng, core)
        if split_of(core) != "train":
            return make(rng, split)
    priority = rng.choice(["high", "normal", "normal", "low"])
    parts = [core]
    if rng.random() < 0.4:
        parts.append(_fill(rng, sample(rng, rng.choice(_NEUTRAL)), split))
    if priority != "normal":
        mood = sample(rng, rng.choice(_URGENT if priority == "high" else _CALM))
        parts.insert(rng.choice([0, len(parts), len(parts)]), mood)
    if rng.random() < 0.25:
        parts.insert(0, rng.choice(_OPEN))
    text = " ".join(p[0].upper() + p[1:] + ("" if p[-1] in "!?." else rng.choice([".", ".", ".", "!"])) for p in parts)
    return (text.lower() if rng.random() < 0.06 else text), label, priority


def prompt(rng: random.Random, text: str, first: bool = True) -> list[dict]:
    """The messages that ask for a ticket to be sorted."""
    if first and rng.random() < 0.7:
        return [{"role": "system", "content": rng.choice(SYSTEM)},
                {"role": "user", "content": rng.choice([text, f"Ticket: {text}", f"Ticket: {text}"])}]
    return [{"role": "user", "content": rng.choice(ASK).replace("<t>", text)}]
