"""The facts the model learns by heart, and the small talk: both are question -> fixed answer."""

import random
from dataclasses import dataclass, field
from pathlib import Path

from grammar import dress, expand_error_macros, roughen, sample, sample_in, split_of

# Capitals are read letter by letter, so training shouts more often than customers do.
SHOUTED = 0.09

DATA = Path(__file__).parent / "data"


@dataclass
class Fact:
    """One fact: its answer, the part of it that a right answer contains, and its questions."""

    key: str
    answer: str = ""
    check: str = ""
    questions: list[str] = field(default_factory=list)
    dev: list[str] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)

    def new_questions(self, split: str) -> list[str]:
        """Templates that training never uses: the blind ones for eval, others for dev."""
        return self.blind if split == "eval" else self.dev


def load(name: str) -> list[Fact]:
    """Reads a fact sheet; the format is described at the top of data/facts.txt."""
    facts: list[Fact] = []
    for line in (DATA / name).read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        mark, rest = line.split(" ", 1)
        if mark == "@":
            facts.append(Fact(rest))
        elif mark == "A":
            facts[-1].answer = rest
        elif mark == "C":
            facts[-1].check = rest
        elif mark == "Q":
            facts[-1].questions += expand_error_macros(rest)
        elif mark == "D":
            facts[-1].dev += expand_error_macros(rest)
        else:
            raise ValueError(f"{name}: unknown line {line!r}")
    for fact in facts:
        if fact.check not in fact.answer or not fact.questions:
            raise ValueError(f"{name}: fact {fact.key} is not complete")
    return facts


FACTS = load("facts.txt") + load("facts_service.txt")


def _load_blind() -> None:
    """Gives every fact its questions of data/blind.txt."""
    by_key, fact = {f.key: f for f in FACTS}, None
    for line in (DATA / "blind.txt").read_text().splitlines():
        if line.startswith("@ "):
            fact = by_key[line[2:]]
        elif line and not line.startswith("#"):
            fact.blind.append(line)


_load_blind()
SMALLTALK = load("smalltalk.txt")


def train_question(rng: random.Random, fact: Fact) -> str:
    """A training question: template, slips, then a last look at the split of what came out."""
    while True:
        core = sample_in(rng, fact.questions, "train")
        core = roughen(rng, core)
        if split_of(core) == "train":
            return dress(rng, core, SHOUTED)


def held_out_question(rng: random.Random, fact: Fact, split: str) -> str | None:
    """A known template filled in a way that never occurs in training."""
    core = sample_in(rng, fact.questions, split, tries=2000)
    return None if core is None else dress(rng, core)


def new_question(rng: random.Random, fact: Fact, split: str) -> str:
    """A question that no training template makes."""
    return dress(rng, sample(rng, rng.choice(fact.new_questions(split))))
