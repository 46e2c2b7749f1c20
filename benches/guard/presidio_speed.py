"""How fast Presidio's default pattern recognizers scan a file, in pieces as its users scan documents.

    python presidio_speed.py FILE ROUNDS

The language model is a blank one, so that only patterns, checksums and context count.
"""

import sys
import time

from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine
from presidio_analyzer.predefined_recognizers import SpacyRecognizer

PIECE = 10_000  # characters; what its documentation calls a document


class BlankEngine(NlpEngine):
    """A tokenizer and nothing else."""

    def __init__(self):
        import spacy

        self.nlp = spacy.blank("en")

    def load(self):
        pass

    def is_loaded(self):
        return True

    def get_supported_entities(self):
        return []

    def get_supported_languages(self):
        return ["en"]

    def is_stopword(self, word, language):
        return False

    def is_punct(self, word, language):
        return False

    def process_text(self, text, language):
        tokens = self.nlp(text)
        return NlpArtifacts([], tokens, [t.idx for t in tokens], [t.text.lower() for t in tokens], self, language)

    def process_batch(self, texts, language, **_):
        for text in texts:
            yield text, self.process_text(text, language)


def main():
    path, rounds = sys.argv[1], int(sys.argv[2])
    text = open(path, encoding="utf-8").read()
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    registry.recognizers = [r for r in registry.recognizers if not isinstance(r, SpacyRecognizer)]
    engine = AnalyzerEngine(registry=registry, nlp_engine=BlankEngine(), supported_languages=["en"])
    pieces = [text[i : i + PIECE] for i in range(0, len(text), PIECE)]
    engine.analyze(pieces[0], language="en")
    best, found = float("inf"), 0
    for _ in range(rounds):
        start = time.perf_counter()
        found = sum(len(engine.analyze(piece, language="en")) for piece in pieces)
        best = min(best, time.perf_counter() - start)
    megabytes = len(text.encode()) / 1e6
    print(f"{megabytes:.2f} MB, {found} findings, {megabytes / best:.4f} MB/s, {len(registry.recognizers)} recognizers")


main()
