"""Makes tiny models of each family with random weights, and what transformers computes with them.

    pip install torch==2.15.0 transformers==5.24.0
    python crates/encoder/tests/oracle/make.py

The folders beside this file are what it wrote; the tests need no Python. Weights are rounded to 16 bits before
anything is computed, so that the files are small and both sides have the same.
"""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DebertaV2ForTokenClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
    PreTrainedTokenizerFast,
)

HERE = Path(__file__).parent
TEXTS = [
    "Ada Lovelace met Charles Babbage in London.",
    "Grüße aus Köln, schreibt Jürgen; the train to Łódź leaves at 9:40.",
    "ok",
    "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen.",
]
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
SIZES = dict(
    hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=36, max_position_embeddings=64
)


def tokenizer(kind):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if kind == "wordpiece":
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=160, special_tokens=special, show_progress=False)
    elif kind == "unigram":
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=160, special_tokens=special, unk_token="[UNK]", show_progress=False
        )
    else:
        made = Tokenizer(models.BPE(unk_token="[UNK]"))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=special,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
    made.train_from_iterator(TEXTS * 3, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(t, made.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
    )
    return made


def write(name, kind, config, tokens, text):
    made = tokenizer(kind)
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    for task, family, labels in (("tokens", tokens, LABELS), ("text", text, ["SAFE", "INJECTION"])):
        torch.manual_seed(7)
        settings = config(
            vocab_size=made.get_vocab_size(), id2label=dict(enumerate(labels)), label2id={l: i for i, l in enumerate(labels)}
        )
        model = family(settings).eval()
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                scale = 0.2 if "norm" in key.lower() else 0.35
                shift = 1.0 if "norm" in key.lower() and key.endswith("weight") else 0.0
                parameter.copy_((torch.randn_like(parameter) * scale + shift).half().float())
        where = folder / task
        where.mkdir(exist_ok=True)
        (where / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
        cases = []
        for case in TEXTS:
            encoded = made.encode(case)
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([encoded.ids])).logits[0]
            rows = logits.tolist() if logits.dim() == 2 else [logits.tolist()]
            cases.append({"text": case, "ids": encoded.ids, "logits": [[round(x, 6) for x in row] for row in rows]})
        (where / "golden.json").write_text(json.dumps(cases, ensure_ascii=False))
        # Last, since this rounds what is computed from the configuration as well.
        model.half().save_pretrained(where)
    (folder / "tokenizer.json").unlink()


write(
    "bert",
    "wordpiece",
    lambda **own: BertConfig(**SIZES, **own),
    BertForTokenClassification,
    BertForSequenceClassification,
)
write(
    "deberta",
    "unigram",
    lambda **own: DebertaV2Config(
        **SIZES,
        **own,
        relative_attention=True,
        position_buckets=8,
        max_relative_positions=-1,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        type_vocab_size=0,
        pooler_hidden_act="gelu",
    ),
    DebertaV2ForTokenClassification,
    DebertaV2ForSequenceClassification,
)
write(
    "deberta-own-keys",
    "unigram",
    lambda **own: DebertaV2Config(
        **SIZES,
        **own,
        relative_attention=True,
        position_buckets=-1,
        max_relative_positions=16,
        pos_att_type=["p2c", "c2p"],
        share_att_key=False,
        position_biased_input=True,
        type_vocab_size=2,
    ),
    DebertaV2ForTokenClassification,
    DebertaV2ForSequenceClassification,
)
write(
    "modernbert",
    "bpe",
    lambda **own: ModernBertConfig(
        **SIZES, **own, global_attn_every_n_layers=3, local_attention=8, pad_token_id=0, classifier_pooling="mean"
    ),
    ModernBertForTokenClassification,
    ModernBertForSequenceClassification,
)
