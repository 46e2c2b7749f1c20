"""Templates, their random expansion, and the split into train, dev and eval.

A template is plain text with choices `{a|b|c}` and macros `$name`. Sampling one gives a
sentence; the same few hundred templates give many thousands of sentences, which is what lets a
model this small see each fact in many wordings.

The split is by content, not by position: a sentence belongs to the eval set, the dev set or the
training set by the checksum of its normalised text. Whatever seed generates it, a sentence (or
an entity value) of the eval set can therefore never turn up in training.
"""

import random
import re
import zlib

MACROS = {
    "the": ["the W2", "my W2", "the Brookvane W2", "my Brookvane", "the controller", "my controller",
            "the device", "this device", "the unit"],
    "how": ["how do I", "how can I", "how do you", "how to", "how should I", "can you tell me how to",
            "please explain how to", "show me how to", "what do I do to", "tell me how to",
            "what is the way to"],
}

# `$err{..}` and `$errd{..}` stand for whole families of questions about an error code.
ERROR_QUESTIONS = [
    "what {is|does} @ {mean|}", "{$the|it|the display|the app} {shows|says|reports|displays} @{, what now|, what do I do||}",
    "{I get|I see|there is|I have} @ {on $the|in the app|}", "$how {fix|clear|solve|get rid of} @",
    "@", "{explain|meaning of|help with|what to do about|tell me about} @", "why {does $the show|do I see|do I get} @",
    "what {causes|triggers|stands behind|is the cause of|is the meaning of|is the remedy for} @", "{cause of|reason for|cure for|steps for} @",
    "{how serious|how bad|how urgent} is @", "{must I|do I have to|need I} worry {about|because of} @",
    "@ {keeps coming back|does not go away|will not clear|came up again|since this morning|appeared last night}",
    "{my wife|my neighbour|a friend|our tenant} {saw|got|has|reports} @ {on the W2|on the controller|}",
    "{the app|$the} {sent me|gave me|warns me of|complains about|stops with} @", "what {must|can|could} {I|we|one} do {about|against|with} @",
]
ERROR_DEV = ["what should I do when @ comes up", "my screen says @, is that bad"]

_CHOICE = re.compile(r"\{([^{}]*)\}")
_MACRO = re.compile(r"\$(\w+)")


def expand_error_macros(line: str) -> list[str]:
    """Turns a `$err{..}` line into its family of templates; any other line stays as it is."""
    match = re.fullmatch(r"\$(err|errd)(\{.*\})", line)
    if not match:
        return [line]
    family = ERROR_QUESTIONS if match[1] == "err" else ERROR_DEV
    return [t.replace("@", match[2]) for t in family]


def sample(rng: random.Random, template: str) -> str:
    """Expands every choice and macro of a template at random."""
    text = _MACRO.sub(lambda m: rng.choice(MACROS[m[1]]), template)
    while True:
        text, n = _CHOICE.subn(lambda m: rng.choice(m[1].split("|")), text)
        if n == 0:
            break
    return re.sub(r"\s+([,.?!:])", r"\1", re.sub(r"\s+", " ", text)).strip()


def normalise(text: str) -> str:
    """Lower case, letters and digits only: what decides whether two questions are the same."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def split_of(text: str) -> str:
    """The set a sentence or a value belongs to: 5% eval, 5% dev, the rest train."""
    bucket = zlib.crc32(normalise(text).encode()) % 20
    return {0: "eval", 1: "dev"}.get(bucket, "train")


def sample_in(rng: random.Random, templates: list[str], split: str, tries: int = 300) -> str | None:
    """A sentence from any of the templates that belongs to `split`, or None if there is none."""
    for _ in range(tries):
        text = sample(rng, rng.choice(templates))
        if split_of(text) == split:
            return text
    return None


_STOP = {"the", "a", "an", "my", "is", "do", "does", "i", "to", "of", "for", "in", "on", "it", "you", "with"}


def _typo(rng: random.Random, word: str) -> str:
    """One slip of the finger: a letter dropped, doubled or swapped with its neighbour."""
    i = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:i] + word[i + 1:]
    if kind == 1:
        return word[:i] + word[i] + word[i:]
    return word[:i] + word[i + 1] + word[i] + word[i + 2:]


# Words that say little. Strewn into a question they teach the model to hold on to those that matter.
_NOISE = ("really actually again maybe perhaps just somehow always often sometimes here there then also even still quite very "
          "must might could would should shall let make take come comes goes go going get gets got put see look say tell know "
          "think want need like would rather than that this these those which what when where while because since before after "
          "out up down off over through about into onto from with some any every other another one thing things something "
          "anything way kind sort lot much many more most our your their them they he she we us at on so but if or yes no well "
          "oh today yesterday home house day week people friend question idea point case place side end part number").split()


def roughen(rng: random.Random, text: str) -> str:
    """Typing as people type: sometimes a small word is missing, too much, or a letter slips."""
    words = text.split()
    if rng.random() < 0.25:
        for _ in range(rng.choice([1, 1, 2, 3])):
            words.insert(rng.randrange(len(words) + 1), rng.choice(_NOISE))
    if len(words) > 3 and rng.random() < 0.12:
        words = [w for w in words if w.lower() not in _STOP or rng.random() < 0.5]
    if rng.random() < 0.06:
        long = [i for i, w in enumerate(words) if len(w) >= 5 and w.isalpha()]
        if long:
            i = rng.choice(long)
            words[i] = _typo(rng, words[i])
    return " ".join(words) or text


_BEFORE = ["hi, ", "hello, ", "hey, ", "hello! ", "quick question: ", "one question: ", "I have a question: ",
           "please tell me, ", "sorry, ", "excuse me, ", "and ", "also, ", "so ", "good morning, ", "ok, ",
           "I would like to know: ", "can you help? ", "another question: ", "I was wondering, "]
_AFTER = [" please", ", please", " thanks", ", thanks", " thank you", ", thank you"]
_CHAT = [", any idea", ", is this normal", ", can you explain", ", do you know", ", what can you tell me", ", I am new to this",
         ", my neighbour asked", ", I could not find it", ", I forgot", ", it matters to me"]
_QUESTION = re.compile(r"^(what|which|who|whom|when|where|why|how|is|are|does|do|can|may|will|could|should|would|at|in|"
                       r"by|until|since|from|on|for|must|up|to|over|after)\b", re.I)


def dress(rng: random.Random, text: str, shouted: float = 0.03) -> str:
    """Adds what surrounds a question: greeting, thanks, capital letter, punctuation, casing; a share is all capitals."""
    question = bool(_QUESTION.match(text))
    if rng.random() < 0.22:
        text = rng.choice(_BEFORE) + text
    if rng.random() < 0.13:
        text = text + rng.choice(_AFTER + _CHAT)
    if rng.random() < 0.75:
        text = text[0].upper() + text[1:]
    roll = rng.random()
    if text[-1] not in "?.!":
        if question:
            text += "?" if roll < 0.75 else ("" if roll < 0.93 else "??")
        else:
            text += "" if roll < 0.4 else ("." if roll < 0.75 else "?")
    roll = rng.random()
    if roll < 0.08:
        text = text.lower()
    elif roll < 0.08 + shouted:
        text = text.upper()
    return text
