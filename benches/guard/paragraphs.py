"""Paragraphs of files as lines of JSON, for `cargo run --release -p garrison-guard --example judge`: nearly all are
innocent, and documentation is full of orders. The names of the files come on standard input; every STEP-th paragraph of
60 to 700 characters is taken.

    find ~/.cargo/registry/src -name README.md | sort | python3 benches/guard/paragraphs.py 5
"""

import json
import re
import sys

step = int(sys.argv[1]) if len(sys.argv) > 1 else 1
count = 0
for name in sys.stdin.read().splitlines():
    try:
        with open(name, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError):
        continue
    for paragraph in map(str.strip, re.split(r"\n\s*\n", text)):
        if 60 <= len(paragraph) <= 700:
            count += 1
            if count % step == 0:
                print(json.dumps({"set": "paragraphs", "text": paragraph}))
