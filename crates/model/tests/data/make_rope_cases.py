#!/usr/bin/env python3
"""Writes rope_cases.json: frequencies and magnitudes that rope.rs is held to.

Computed with numpy in double precision from the published definitions, pair by pair, without
looking at the Rust: RoFormer (Su et al. 2021) for the base, Position Interpolation (Chen et al.
2023), YaRN (Peng et al. 2023, section 3.2 and equation 22) and the Llama 3.1 release's scheme, in
the conventions in which Hugging Face transformers evaluates them (rope_type linear, yarn, llama3).
"""

import json
import math
import pathlib

import numpy as np


def base_frequencies(dim, theta):
    return 1.0 / theta ** (np.arange(0, dim, 2, dtype=np.float64) / dim)


def linear(freq, case):
    return freq / case["factor"], 1.0


def llama3(freq, case):
    context, factor = case["original_context"], case["factor"]
    low, high = case["low_freq_factor"], case["high_freq_factor"]
    out = []
    for f in freq:
        wavelength = 2 * math.pi / f
        if wavelength < context / high:
            out.append(f)
        elif wavelength > context / low:
            out.append(f / factor)
        else:
            smooth = (context / wavelength - low) / (high - low)
            out.append((1 - smooth) * f / factor + smooth * f)
    return np.array(out), 1.0


def yarn(freq, case):
    dim, theta, context = case["dim"], case["base"], case["original_context"]

    def dimension_with(rotations):
        return dim * math.log(context / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension_with(case["beta_fast"])), 0)
    high = min(math.ceil(dimension_with(case["beta_slow"])), dim - 1)
    if low == high:
        high += 0.001
    interpolated = np.clip((np.arange(dim // 2) - low) / (high - low), 0, 1)
    freq = freq / case["factor"] * interpolated + freq * (1 - interpolated)
    return freq, case["attention_factor"] * (0.1 * math.log(case["factor"]) + 1.0)


METHODS = {"none": lambda freq, case: (freq, 1.0), "linear": linear, "llama3": llama3, "yarn": yarn}

CASES = [
    {"name": "llama 2", "method": "none", "dim": 128, "base": 10000.0},
    {"name": "llama 3", "method": "none", "dim": 128, "base": 500000.0},
    {"name": "partial", "method": "none", "dim": 24, "base": 10000.0},
    {"name": "vicuna 16k", "method": "linear", "dim": 128, "base": 10000.0, "factor": 4.0},
    {"name": "llama 3.1", "method": "llama3", "dim": 128, "base": 500000.0, "factor": 8.0,
     "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_context": 8192.0},
    {"name": "llama 3.2 1b", "method": "llama3", "dim": 64, "base": 500000.0, "factor": 32.0,
     "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_context": 8192.0},
    {"name": "qwen 2.5 128k", "method": "yarn", "dim": 128, "base": 1000000.0, "factor": 4.0,
     "original_context": 32768.0, "beta_fast": 32.0, "beta_slow": 1.0, "attention_factor": 1.0},
    {"name": "yarn llama 2 128k", "method": "yarn", "dim": 128, "base": 10000.0, "factor": 32.0,
     "original_context": 4096.0, "beta_fast": 32.0, "beta_slow": 1.0, "attention_factor": 1.0},
    {"name": "yarn with its own strength", "method": "yarn", "dim": 64, "base": 10000.0, "factor": 16.0,
     "original_context": 2048.0, "beta_fast": 24.0, "beta_slow": 2.0, "attention_factor": 0.75},
    {"name": "yarn with both ends on one pair", "method": "yarn", "dim": 16, "base": 10000.0, "factor": 4.0,
     "original_context": 5.0, "beta_fast": 1.2, "beta_slow": 1.1, "attention_factor": 1.0},
]

for case in CASES:
    freq, magnitude = METHODS[case["method"]](base_frequencies(case["dim"], case["base"]), case)
    case["inv_freq"], case["magnitude"] = freq.tolist(), float(magnitude)

path = pathlib.Path(__file__).with_name("rope_cases.json")
path.write_text("[\n" + ",\n".join(json.dumps(case) for case in CASES) + "\n]\n")
