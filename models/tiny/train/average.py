"""Averages the weights of two checkpoints of one run, which often generalises better than either.

    python average.py FIRST.pt SECOND.pt SHARE_OF_SECOND OUT.pt
"""

import sys

import torch

if __name__ == "__main__":
    first, second = torch.load(sys.argv[1]), torch.load(sys.argv[2])
    share = float(sys.argv[3])
    model = {k: (1 - share) * first["model"][k] + share * v for k, v in second["model"].items()}
    torch.save({"model": model, "preset": second["preset"], "step": second["step"]}, sys.argv[4])
