"""all-MiniLM-L6-v2, a sentence encoder, as text models: its own weights, and an export with int8 weights.

Sources: N. Reimers and I. Gurevych, "Sentence-BERT", EMNLP 2019; W. Wang et al., "MiniLM", NeurIPS 2020;
https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2, Apache-2.0. The weights lie in a package of the
Python registry, and so does the export; nothing of them is committed.
"""
