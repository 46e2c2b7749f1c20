"""Teaches the guard's second look and makes src/injection/encoder.bin.

    scripts/get-minilm                                                    # prints the folder of all-MiniLM-L6-v2
    cargo run --release -p garrison-guard --example second_look -- texts > texts.jsonl
    pip install -r crates/guard/corpus/second_look/requirements.txt
    python3 crates/guard/corpus/second_look/learn.py MINILM texts.jsonl checkpoint.npz [--from OTHER.npz | encoder.bin] [--epochs 2 | --steps N]
        [--rate 2e-4] [--end 0] [--left-out 2,3]

all-MiniLM-L6-v2 (Apache-2.0, see meanings.py for where it is from), all its six layers, learns the training texts
further, with a layer above them that makes the classes of src/injection/classifier.rs of what they see: the vector of the
first piece, the mean of all and the most of each number. Texts are those that src/injection/second.rs would show it. Of
each line one text an epoch counts, drawn anew: as it is, between others, or without signs and capitals.

It takes two seconds of one core a step, 37 minutes an epoch of 60,000 lines. The checkpoint is written every 200 steps and can be learned on
from, with further lines. `--left-out` names folders, by their place in the call that made the texts (0 and 1 are the
corpus's own), that are not learned from: what they say is printed, with the networks alone, alone, and together.

The weights are rounded to eight bits, a scale for each row, and what the rounded weights say of some texts goes to
known.jsonl, by which a test compares the guard's own arithmetic. The same texts and versions give nearly the same weights:
the order in which threads add is not fixed.
"""

import argparse
import functools
import json
import pathlib
import random
import struct
import time

import jax
import jax.numpy as jnp
import numpy as np

# The bits that leave numbers out are only drawn, never compared: threefry's would take a tenth of a step.
jax.config.update("jax_default_prng_impl", "unsafe_rbg")

HERE = pathlib.Path(__file__).parent
SOURCES = HERE / "../../src/injection"
LAYERS, HIDDEN, HEADS, LONGEST, CLASSES = 6, 384, 12, 96, 8
# Pieces of a batch, and lengths that texts are filled up to.
BATCH, LENGTHS = 2048, (16, 24, 32, 40, 48, 64, 96)
# How often the ways to write a text are drawn.
WAYS = {"own": 55, "mixed": 30, "bare": 15, "encoded": 30}
# The parts of a layer as they lie in the file.
ORDER = ("attention", "attended", "first", "up", "down", "second")
DROPPED, SMOOTHING, DECAY = 0.1, 0.02, 0.01


def begin(folder):
    """The encoder's layers, of its vocabulary what pieces.txt has, and a random layer above."""
    with open(folder / "model.safetensors", "rb") as file:
        head = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        raw = file.read()

    def get(name):
        start, end = head[name]["data_offsets"]
        return np.frombuffer(raw[start:end], np.float32).reshape(head[name]["shape"]).copy()

    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    pieces = (SOURCES / "pieces.txt").read_text().split("\n")[:-1]
    named = lambda name: {"scale": get(name + ".weight"), "shift": get(name + ".bias")}
    joined = lambda names, what: np.concatenate([get(f"{name}.{what}") for name in names])
    layers = []
    for n in range(LAYERS):
        layer = f"encoder.layer.{n}."
        parts = [layer + "attention.self." + part for part in ("query", "key", "value")]
        dense = lambda *names: {"weights": joined(names, "weight"), "bias": joined(names, "bias")}
        layers.append({
            "attention": dense(*parts),
            "attended": dense(layer + "attention.output.dense"),
            "first": named(layer + "attention.output.LayerNorm"),
            "up": dense(layer + "intermediate.dense"),
            "down": dense(layer + "output.dense"),
            "second": named(layer + "output.LayerNorm"),
        })
    places = get("embeddings.position_embeddings.weight")[:LONGEST]
    return {
        "pieces": get("embeddings.word_embeddings.weight")[[vocabulary[piece] for piece in pieces]],
        "places": places + get("embeddings.token_type_embeddings.weight")[0],
        "norm": named("embeddings.LayerNorm"),
        "layers": layers,
        "head": {
            "weights": np.random.default_rng(0).standard_normal((CLASSES, 3 * HIDDEN)).astype(np.float32) * 0.02,
            "bias": np.zeros(CLASSES, np.float32),
        },
    }


def normed(x, norm):
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-12) * norm["scale"] + norm["shift"]


def classes(weights, pieces, key=None):
    """[texts][CLASSES] of pieces [texts][length], 0 where a text is shorter; with a key, some numbers are left out."""
    texts, length = pieces.shape
    there = (pieces > 0)[..., None]
    keys = iter(jax.random.split(key, 2 * LAYERS + 2)) if key is not None else None

    def kept(x):
        if keys is None:
            return x
        return jnp.where(jax.random.bernoulli(next(keys), 1 - DROPPED, x.shape), x / (1 - DROPPED), 0)

    apply = lambda x, dense: x @ dense["weights"].T + dense["bias"]
    heads = lambda x: x.reshape(texts, length, HEADS, -1).transpose(0, 2, 1, 3)
    x = kept(normed(weights["pieces"][pieces] + weights["places"][:length], weights["norm"])).reshape(-1, HIDDEN)
    for layer in weights["layers"]:
        queries, keys_, values = map(heads, jnp.split(apply(x, layer["attention"]), 3, -1))
        scores = queries @ keys_.transpose(0, 1, 3, 2) / (HIDDEN // HEADS) ** 0.5
        shares = jax.nn.softmax(jnp.where(there[:, None, None, :, 0], scores, -1e9), -1)
        mixed = (shares @ values).transpose(0, 2, 1, 3).reshape(-1, HIDDEN)
        x = normed(x + kept(apply(mixed, layer["attended"])), layer["first"])
        x = normed(x + kept(apply(jax.nn.gelu(apply(x, layer["up"])), layer["down"])), layer["second"])
    x = x.reshape(texts, length, HIDDEN)
    mean = (x * there).sum(1) / there.sum(1)
    most = jnp.where(there, x, -1e9).max(1)
    return apply(kept(jnp.concatenate([x[:, 0], mean, most], -1)), weights["head"])


def loss(weights, pieces, wanted, key):
    said = jax.nn.log_softmax(classes(weights, pieces, key))
    wanted = jax.nn.one_hot(wanted, CLASSES) * (1 - SMOOTHING) + SMOOTHING / CLASSES
    return -(said * wanted).sum(-1).mean()


@functools.partial(jax.jit, donate_argnums=0)
def step(state, pieces, wanted, key, rate, n):
    """One of Adam's with decoupled decay (Loshchilov and Hutter 2019); gradients are cut to length 1."""
    each = jax.tree_util.tree_map
    weights, first, second = state
    value, gradient = jax.value_and_grad(loss)(weights, pieces, wanted, key)
    scale = jnp.minimum(1, 1 / jnp.sqrt(sum((g**2).sum() for g in jax.tree_util.tree_leaves(gradient))))
    first = each(lambda m, g: 0.9 * m + 0.1 * g * scale, first, gradient)
    second = each(lambda v, g: 0.999 * v + 0.001 * (g * scale) ** 2, second, gradient)
    moved = lambda w, m, v: w - rate * (
        m / (1 - 0.9**n) / (jnp.sqrt(v / (1 - 0.999**n)) + 1e-8) + (DECAY * w if w.ndim > 1 else 0)
    )
    return (each(moved, weights, first, second), first, second), value


def filled(rows, length):
    texts = np.zeros((len(rows), length), np.int32)
    for text, row in zip(texts, rows):
        text[: len(row)] = row
    return texts


def drawn(lines, rng):
    """The batches of an epoch."""
    lengths = {length: [] for length in LENGTHS}
    batches = []
    lines = list(lines)
    rng.shuffle(lines)
    for wanted, texts in lines:
        pieces = rng.choices(texts, [WAYS[how] for how, _ in texts])[0][1]
        length = next(length for length in LENGTHS if len(pieces) <= length)
        lengths[length].append((pieces, wanted))
        if len(lengths[length]) == BATCH // length:
            rows, classes_ = zip(*lengths[length])
            batches.append((filled(rows, length), np.array(classes_)))
            lengths[length] = []
    rng.shuffle(batches)
    return batches


said = jax.jit(classes)


def odds(weights, rows):
    """How much likelier an attack is than none, as a logarithm."""
    all_ = np.zeros((len(rows), CLASSES), np.float32)
    for length in LENGTHS:
        of_length = [n for n, row in enumerate(rows) if next(l for l in LENGTHS if len(row) <= l) == length]
        for start in range(0, len(of_length), BATCH // length):
            some = of_length[start : start + BATCH // length]
            texts = filled([rows[n] for n in some] + [[2, 3]] * (BATCH // length - len(some)), length)
            all_[some] = np.asarray(said(weights, texts))[: len(some)]
    return np.logaddexp.reduce(all_[:, 1:], axis=1) - all_[:, 0]


def report(weights, judged):
    wanted, networks, rows = zip(*judged)
    attack, networks = np.array(wanted) > 0, np.array(networks)
    second = odds(weights, rows)
    for name, score in (("networks", networks), ("second look", second), ("both", networks + second)):
        calm = np.sort(score[~attack])[::-1]
        borders = {q: calm[int(q / 100 * len(calm))] for q in (0.1, 0.2, 0.3, 0.5, 1, 2, 5)}
        shares = [f"{100 * (score[attack] > b).mean():.1f}% at {q}% ({b:.2f})" for q, b in borders.items()]
        print(f"  {name}: {', '.join(shares)}", flush=True)


def rounded(weights, file=None):
    """The weights as they are in the file, which is written in the order in which the guard reads it."""

    def table(rows):
        units = np.maximum(np.abs(rows).max(1), 1e-12) / 127
        numbers = np.clip(np.round(rows / units[:, None]), -127, 127).astype(np.int8)
        if file:
            file.write(numbers.tobytes() + units.astype("<f4").tobytes())
        return numbers.astype(np.float32) * units[:, None].astype(np.float32)

    def floats(numbers):
        if file:
            file.write(np.asarray(numbers, "<f4").tobytes())
        return numbers

    dense = lambda d: {"weights": table(d["weights"]), "bias": floats(d["bias"])}
    norm = lambda n: {"scale": floats(n["scale"]), "shift": floats(n["shift"])}
    part = lambda p: dense(p) if "weights" in p else norm(p)
    return {
        "pieces": table(weights["pieces"]),
        "places": table(weights["places"]),
        "norm": norm(weights["norm"]),
        "layers": [{name: part(layer[name]) for name in ORDER} for layer in weights["layers"]],
        "head": dense(weights["head"]),
    }


def write(weights):
    with open(SOURCES / "encoder.bin", "wb") as file:
        weights = rounded(weights, file)
    known = [json.loads(line) for line in (HERE / "known.jsonl").read_text().split("\n")[:-1]]
    of_texts = said(weights, filled([text["pieces"] for text in known], LONGEST))
    with open(HERE / "known.jsonl", "w") as file:
        for text, of_text in zip(known, of_texts):
            text["classes"] = [round(float(c), 4) for c in of_text]
            file.write(json.dumps(text, ensure_ascii=False) + "\n")


def save(path, weights):
    leaves = jax.tree_util.tree_leaves(weights)
    np.savez(path, *[np.asarray(leaf) for leaf in leaves])


def load(path, like):
    with np.load(path) as file:
        leaves = [file[f"arr_{n}"] for n in range(len(file.files))]
    return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(like), leaves)


def shipped(path, like):
    """What `write` wrote, as far as eight bits kept it."""
    data, at = path.read_bytes(), 0

    def floats(count):
        nonlocal at
        at += 4 * count
        return np.frombuffer(data, "<f4", count, at - 4 * count).copy()

    def table(shape):
        nonlocal at
        at += shape[0] * shape[1]
        numbers = np.frombuffer(data, np.int8, shape[0] * shape[1], at - shape[0] * shape[1]).reshape(shape)
        return numbers.astype(np.float32) * floats(shape[0])[:, None]

    dense = lambda d: {"weights": table(d["weights"].shape), "bias": floats(d["bias"].size)}
    norm = lambda n: {"scale": floats(n["scale"].size), "shift": floats(n["shift"].size)}
    part = lambda p: dense(p) if "weights" in p else norm(p)
    weights = {
        "pieces": table(like["pieces"].shape),
        "places": table(like["places"].shape),
        "norm": norm(like["norm"]),
        "layers": [{name: part(layer[name]) for name in ORDER} for layer in like["layers"]],
        "head": dense(like["head"]),
    }
    assert at == len(data)
    return weights


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("minilm", type=pathlib.Path)
    parser.add_argument("texts")
    parser.add_argument("checkpoint")
    parser.add_argument("--from", dest="other")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--steps", type=int, help="instead of epochs")
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--end", type=float, default=0, help="the part of the rate that is left at the end")
    parser.add_argument("--left-out", default="")
    given = parser.parse_args()
    left_out = {int(folder) for folder in given.left_out.split(",") if folder}
    lines, judged = {}, {}
    for line in open(given.texts):
        text = json.loads(line)
        key = (text["folder"], text["class"] > 0, text["line"])
        if text["folder"] not in left_out:
            lines.setdefault(key, (text["class"], []))[1].append((text["how"], text["pieces"]))
        elif text["how"] == "own":
            judged.setdefault(key, (text["class"], -9 if text["odds"] is None else text["odds"], text["pieces"]))
    judged = list(judged.values())
    weights = begin(given.minilm)
    if given.other:
        other = pathlib.Path(given.other)
        weights = shipped(other, weights) if other.suffix == ".bin" else load(other, weights)
    each = jax.tree_util.tree_map
    state = (each(jnp.asarray, weights), each(jnp.zeros_like, weights), each(jnp.zeros_like, weights))
    rng, key = random.Random(1), jax.random.PRNGKey(0)
    batches = drawn(lines.values(), rng)
    total = given.steps or int(len(batches) * given.epochs)
    print(len(lines), "lines,", len(batches), "steps an epoch", flush=True)
    start, losses = time.time(), []
    for n in range(total):
        if not batches:
            batches = drawn(lines.values(), rng)
        done = n / total
        rate = given.rate * (min(1, (n + 1) / 50) if given.other else min(1, 10 * done + 1e-3))
        rate *= given.end + (1 - given.end) * (1 - done)
        key, dropped = jax.random.split(key)
        pieces, wanted = batches.pop()
        state, value = step(state, pieces, wanted, dropped, np.float32(rate), np.float32(n + 1))
        losses.append(value)
        if n % 25 == 24:
            print(f"step {n + 1}: loss {np.mean(losses):.4f}, {time.time() - start:.0f} s", flush=True)
            losses = []
        if n % 200 == 199:
            save(given.checkpoint, state[0])
            if judged and n % 400 == 399:
                report(state[0], judged)
    save(given.checkpoint, state[0])
    if judged:
        report(state[0], judged)
        print("rounded:")
        report(rounded(jax.device_get(state[0])), judged)
    write(jax.device_get(state[0]))


if __name__ == "__main__":
    main()
