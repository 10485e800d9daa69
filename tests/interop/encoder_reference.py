"""MiniLM by other hands: BERT of the library transformers on JAX, with its tokenizer in plain Python.

Runs in an environment of its own: ``python -P encoder_reference.py FOLDER TEXTS.json OUT.npy``. The pooling
is that of sentence-transformers: the mean over the attention mask, of length 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from transformers import BertTokenizer, FlaxBertModel


def main(folder: str, texts: str, out: str) -> None:
    longest = json.loads((Path(folder) / "sentence_bert_config.json").read_text())["max_seq_length"]
    tokenizer = BertTokenizer.from_pretrained(folder)
    model = FlaxBertModel.from_pretrained(folder, add_pooling_layer=False)
    # padded to one length, because JAX compiles for each anew
    tokens = tokenizer(
        json.loads(Path(texts).read_text()),
        padding="max_length",
        truncation=True,
        max_length=longest,
        return_tensors="np",
    )
    hidden = np.asarray(model(**tokens).last_hidden_state)
    mask = tokens["attention_mask"][..., None].astype(np.float32)
    mean = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
    np.save(out, mean / np.linalg.norm(mean, axis=1, keepdims=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
