"""Runs the held-out set on an exported file.

    python evaluate.py ../garrison-tiny.gguf [../eval.jsonl]
"""

import json
import sys
from pathlib import Path

import torch

import export
import vocab
from train import accuracy

if __name__ == "__main__":
    torch.set_num_threads(1)
    cases = [json.loads(line) for line in Path(sys.argv[2] if len(sys.argv) > 2 else vocab.TINY / "eval.jsonl").open()]
    kinds, overall = accuracy(export.read(Path(sys.argv[1])), vocab.load(), cases, show=len(cases))
    for kind, share in kinds.items():
        print(f"{kind:16} {share:.3f} of {sum(c['kind'] == kind for c in cases)}")
    print(f"{'all':16} {overall:.3f} of {len(cases)}")
