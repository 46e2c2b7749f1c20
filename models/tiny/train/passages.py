"""Questions that are answered from a passage in the prompt, and `The passage does not say.`"""

import random
from dataclasses import dataclass

from facts import DATA
from grammar import dress, sample
from values import value

NOT_SAID = "The passage does not say."


@dataclass
class Attribute:
    """One thing a passage can say, ways to say and to ask it, and the answer."""

    name: str
    kind: str
    says: list[str]
    asks: list[str]
    answer: str


@dataclass
class Topic:
    """A kind of passage: what its entity is, how it opens, and its attributes."""

    name: str
    entity: str
    intro: str
    attributes: list[Attribute]


def _load() -> list[Topic]:
    topics: list[Topic] = []
    for line in (DATA / "passages.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("@ "):
            name, entity = line[2:].split()
            topics.append(Topic(name, entity, "", []))
        elif line.startswith("I "):
            topics[-1].intro = line[2:]
        else:
            name, kind, says, asks, answer = line.split(" || ")
            topics[-1].attributes.append(Attribute(name, kind, says.split(" / "), asks.split(" / "), answer))
    return topics


TOPICS = _load()

# The generic topic: any property of any named thing, which teaches looking things up as such.
_PROPERTIES = [
    ("colour code", "code"), ("price", "money"), ("owner", "person"), ("serial number", "code"), ("manager", "person"),
    ("room", "code"), ("start date", "date"), ("end date", "date"), ("weight", "weight"), ("length", "length"),
    ("supplier", "company"), ("home town", "place"), ("phone number", "phone"), ("password", "code"), ("order number", "code"),
    ("deadline", "date"), ("height", "length"), ("budget", "money"), ("address", "place"), ("doctor", "person"),
    ("arrival time", "time"), ("closing time", "time"), ("e-mail address", "email"), ("birth year", "year"), ("limit", "litres"),
    ("number of rooms", "count"), ("age", "count"), ("partner", "company"), ("designer", "person"), ("capital", "place"),
    ("fee", "money"), ("ticket number", "code"), ("pressure", "pressure"), ("teacher", "person"), ("gate", "code"),
]
_OWNERS = ["project", "place", "company", "person"]
_HAS = ["The <p> of <e> is <v>.", "<e> has the <p> <v>.", "For <e> the <p> is <v>."]
_ASK_HAS = ["what is the <p> of <e>", "tell me the <p> of <e>", "{which|what} <p> does <e> have", "what's the <p> of <e>",
            "do you know the <p> of <e>", "I need the <p> of <e>", "give me the <p> of <e>"]

_FILLER = ["The office was painted in spring.", "Please keep this note in the file.", "The weather was fine that week.",
           "All other details are unchanged.", "This note was checked twice.", "The old form is no longer used.",
           "Nothing else was agreed.", "The desk was informed.", "A copy is in the folder.", "No further steps are planned.",
           "The work went well.", "Everyone was friendly and on time.", "The road to the house is narrow.", "Thanks to all who helped."]

SYSTEM = ["Answer from the passage.", "Answer the question using only the passage.", "Use the passage to answer.",
          "You are the support assistant for the Brookvane W2. Answer from the passage.",
          "Answer only from the passage below. If the passage does not contain the answer, say so."]


@dataclass
class Passage:
    """A passage and the questions it can be asked: (question, answer, expected value or None)."""

    text: str
    questions: list[tuple[str, str, str | None]]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _topical(rng: random.Random, split: str, n: int, lacking: int) -> tuple[list[str], list]:
    topic = rng.choice([t for t in TOPICS if t.attributes])
    entity = value(rng, topic.entity, split)
    chosen = rng.sample(topic.attributes, min(n + lacking, len(topic.attributes)))
    told, missing = chosen[:max(1, len(chosen) - lacking)], chosen[max(1, len(chosen) - lacking):]
    sentences, questions = [sample(rng, topic.intro).replace("<e>", entity)], []
    for attribute in chosen:
        ask = sample(rng, rng.choice(attribute.asks)).replace("<e>", entity)
        if attribute in missing:
            questions.append((ask, NOT_SAID, None))
            continue
        v = value(rng, attribute.kind, split)
        fill = lambda t: _capital(sample(rng, t).replace("<v>", v).replace("<e>", entity))
        sentences.append(fill(rng.choice(attribute.says)))
        questions.append((ask, fill(attribute.answer), v))
    body = sentences[1:]
    rng.shuffle(body)
    return sentences[:1] + body, questions


def _generic(rng: random.Random, split: str, n: int, lacking: int) -> tuple[list[str], list]:
    entities = [value(rng, rng.choice(_OWNERS), split) for _ in range(rng.randint(1, 2))]
    chosen = [(rng.choice(entities), p) for p in rng.sample(_PROPERTIES, n + lacking)]
    sentences, questions = [], []
    for i, (entity, (prop, kind)) in enumerate(chosen):
        fill = lambda t, v="": _capital(sample(rng, t).replace("<p>", prop).replace("<e>", entity).replace("<v>", v))
        ask = fill(rng.choice(_ASK_HAS))
        ask = ask[0].lower() + ask[1:]
        if i >= n:
            questions.append((ask, NOT_SAID, None))
            continue
        v = value(rng, kind, split)
        sentences.append(fill(rng.choice(_HAS), v))
        questions.append((ask, fill("The <p> of <e> is <v>.", v), v))
    rng.shuffle(sentences)
    return sentences, questions


def make(rng: random.Random, split: str, size: int | None = None, filler: int | None = None) -> Passage:
    """A passage of `size` statements; about one question in five is not answered by it."""
    size = size or rng.randint(2, 5)
    lacking = rng.choice([0, 1, 1, 2])
    build = _generic if rng.random() < 0.25 else _topical
    sentences, questions = build(rng, split, size, lacking)
    for _ in range(rng.choice([0, 0, 0, 1, 2]) if filler is None else filler):
        sentences.insert(rng.randrange(len(sentences) + 1), rng.choice(_FILLER))
    rng.shuffle(questions)
    return Passage(" ".join(sentences), questions)


def prompt(rng: random.Random, passage: Passage, question: str) -> list[dict]:
    """The opening messages: the passage stands in the system or in the user message."""
    question = dress_question(rng, question)
    style = rng.randrange(4)
    if style == 0:
        return [{"role": "system", "content": f"{rng.choice(SYSTEM)}\n\nPassage: {passage.text}"},
                {"role": "user", "content": question}]
    body = rng.choice([f"Passage: {passage.text}\n\nQuestion: {question}", f"Passage:\n{passage.text}\n\n{question}",
                       f"{passage.text}\n\n{question}", f"Read this: {passage.text}\n\nQuestion: {question}"])
    if style == 1:
        return [{"role": "user", "content": body}]
    return [{"role": "system", "content": rng.choice(SYSTEM)}, {"role": "user", "content": body}]


def dress_question(rng: random.Random, question: str) -> str:
    """Like grammar.dress, but never upper-cased: names must stay as the passage has them."""
    text = dress(rng, question)
    return text if not text.isupper() and any(c.isupper() for c in text) else _capital(question) + "?"
