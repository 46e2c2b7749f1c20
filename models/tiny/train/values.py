"""Random values for passages: names, places, codes, dates, prices and so on.

Names are put together from syllables, so that there are far more of them than the model can
learn: the only way to answer is to copy from the passage. Values whose checksum falls into the
dev or eval part never occur in training (grammar.split_of).
"""

import random

from grammar import split_of

_ON = "b br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh st t tr v w z".split()
_MID = "a e i o u ai ea ou ar er or an en in on al el il".split()
_END = "n r l s t m d k x th nd rt ck ss ll ne la ra no ka mi ta ro vy by".split()
_FIRST = ("Anna Ben Carla David Emma Felix Greta Hugo Ines Jonas Kira Leo Mara Nils Olga Paul Rosa Sven Tara Ugo Vera "
          "Wanda Yusuf Zoe Ahmed Bianca Chen Dmitri Elif Farid Gita Hana Ivan Jin Kofi Lucia Maria Nadia Omar Petra "
          "John Mary Peter Susan James Linda Robert Karen Tom Lisa Adam Sarah Mike Laura Kevin Julia").split()
_MONTHS = "January February March April May June July August September October November December".split()
_TAILS = {"place": "ford ton bury ham wick field mouth bridge dale port".split(),
          "company": ["Ltd", "Works", "Supply", "Brothers", "Group", "Tools", "Water", "Parts", "Logistics", "Systems"]}
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_THINGS = ("copper elbow|brass valve|rubber seal|pipe clamp|steel bracket|filter mesh|flow meter|cable gland|battery tray|"
           "motor gear|front cover|rear cover|pressure gauge|hose nipple|check valve|power board|button cap|light ring").split("|")


def _word(rng: random.Random) -> str:
    parts = [rng.choice(_ON) + rng.choice(_MID) for _ in range(rng.choice([1, 1, 2]))]
    return ("".join(parts) + rng.choice(_END)).capitalize()


def _code(rng: random.Random) -> str:
    letters = lambda n: "".join(rng.choice(_LETTERS) for _ in range(n))
    digits = lambda n: "".join(rng.choice("0123456789") for _ in range(n))
    return rng.choice([
        lambda: f"{letters(2)}-{digits(4)}", lambda: f"{letters(1)}{digits(3)}", lambda: digits(rng.randint(4, 6)),
        lambda: f"{letters(2)}{digits(2)}{letters(1)}", lambda: f"{letters(3)}-{digits(3)}",
        lambda: f"{digits(2)}-{letters(2)}-{digits(2)}",
    ])()


def _draw(rng: random.Random, kind: str) -> str:
    n = rng.randint
    if kind == "person":
        first = rng.choice(_FIRST) if rng.random() < 0.6 else _word(rng)
        return f"{first} {_word(rng)}" if rng.random() < 0.85 else rng.choice(["Mr ", "Ms ", "Dr "]) + _word(rng)
    if kind == "place":
        return _word(rng) + (rng.choice(_TAILS["place"]) if rng.random() < 0.4 else "")
    if kind == "company":
        return f"{_word(rng)} {rng.choice(_TAILS['company'])}"
    if kind == "project":
        return _word(rng)
    if kind == "code":
        return _code(rng)
    if kind == "date":
        day, month, year = n(1, 28), rng.choice(_MONTHS), n(2021, 2035)
        return rng.choice([f"{day} {month} {year}", f"{day} {month}", f"{month} {day}"])
    if kind == "year":
        return str(n(1950, 2035))
    if kind == "time":
        return f"{n(6, 21)}:{n(0, 59):02}"
    if kind == "money":
        return rng.choice([f"{n(3, 999)} euros", f"{n(1, 99)}.{n(0, 99):02} euros", f"{n(100, 9999)} euros", f"${n(5, 999)}"])
    if kind == "count":
        return str(n(2, 999))
    if kind == "phone":
        return rng.choice([f"555-{n(0, 9999):04}", f"0{n(100, 999)} {n(10000, 99999)}"])
    if kind == "weight":
        return rng.choice([f"{n(1, 99)}.{n(1, 9)} kg", f"{n(10, 990)} grams", f"{n(2, 90)} kg"])
    if kind == "length":
        return rng.choice([f"{n(1, 400)} mm", f"{n(2, 90)} cm", f"{n(1, 9)}.{n(1, 9)} metres"])
    if kind == "pressure":
        return f"{n(1, 9)}.{n(0, 99):02} bar"
    if kind == "litres":
        return f"{n(20, 9000)} litres"
    if kind == "email":
        return f"{_word(rng).lower()}@{_word(rng).lower()}.example"
    if kind == "iban":
        return f"{n(1000, 9999)} {n(1000, 9999)} {n(10, 99)}"
    if kind == "part":
        return f"a {rng.choice(_THINGS)} {_code(rng)}"
    if kind == "thing":
        return rng.choice(_THINGS)
    raise ValueError(f"unknown kind of value {kind}")


def value(rng: random.Random, kind: str, split: str) -> str:
    """A random value of a kind that belongs to the given split (small lists are not split)."""
    if kind == "thing":
        return _draw(rng, kind)
    while True:
        text = _draw(rng, kind)
        if split_of(text) == split:
            return text
