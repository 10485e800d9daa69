"""Six models that read a sentence: four on its polarity, one on its intensity, one on where it comes from.

Tasks:

- ``polarity``: negative, neutral or positive: the mean rating is below -0.5, between, or above 0.5. Raters
  gave whole numbers, so beyond the thresholds the mean rounds to at least one step from neutral.
- ``intensity``: the mean rating itself, -4 to 4.
- ``domain``: editorial, movie, product or tweet.

No document and no repeated sentence is split between the parts (:mod:`training.data.split`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.neural_network import MLPClassifier

from examples.models.family import Data, Family
from examples.models.fit import Recipe
from examples.models.heldout import pack
from protos.tensor import TensorSpec
from training.data import Part, vader
from training.data.download import fetch
from training.data.split import connected, split_groups

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["POLARITIES", "load", "polarity"]

SOURCE = TensorSpec("text", "BYTES", (-1, 1))
POLARITIES = ("negative", "neutral", "positive")
DOMAINS = ("editorial", "movie", "product", "tweet")
NEUTRAL_UP_TO = 0.5
SHARES = (0.7, 0.1, 0.2)
SEED = 2014

#: Dense rows of some 30,000 features make larger calls slower per row, not faster.
MAX_ROWS = 64

#: Words with an inner apostrophe, runs of ! and ?, and emoticons; plain ASCII, so that Python and RE2 agree.
PATTERN = r"[a-zA-Z]+(?:'[a-zA-Z]+)?|[!?]+|[:;=][-o']?[)(DPp/]"

#: Words and pairs of words of at least two sentences. ``max_features`` might keep a pair without its words;
#: skl2onnx drops such pairs.
WORDS = TfidfVectorizer(ngram_range=(1, 2), binary=True, min_df=2, token_pattern=PATTERN, dtype=np.float32)

#: Letters, 2 to 5 in a row, across the borders of words.
LETTERS = TfidfVectorizer(analyzer="char", ngram_range=(2, 5), binary=True, min_df=20, dtype=np.float32)

#: What turns or strengthens a rated word, but is itself neutral and hence not in the lexicon.
MODIFIERS = (
    *("not", "never", "without", "barely", "hardly", "but", "very", "really", "too", "!", "!!", "!!!", "?"),
    *("isn't", "don't", "wasn't", "doesn't", "didn't", "can't", "won't", "couldn't", "wouldn't"),
)

_POLARITY = (TensorSpec("probabilities", "FP32", (-1, 3), POLARITIES),)
_SCORE = (TensorSpec("score", "FP32", (-1, 1)),)
_DOMAIN = (TensorSpec("label", "BYTES", (-1,)), TensorSpec("probabilities", "FP32", (-1, 4), DOMAINS))


def load(downloads: Path, _repository: Path) -> Family:
    """Fetch the corpus if need be, split it, and return it with the recipes.

    Raises:
        TrainingError: If the corpus cannot be had.
    """
    corpus = vader.read(fetch(vader.ARCHIVE, downloads))
    return Family(source=SOURCE, max_rows=MAX_ROWS, data=_data(corpus), recipes=_recipes(corpus.lexicon))


def polarity(ratings: Any) -> Any:
    """Return the index into :data:`POLARITIES` of each mean rating.

    Example:
        >>> polarity([-0.6, -0.5, 0.0, 0.5, 0.6]).tolist()
        [0, 1, 1, 1, 2]
    """
    rating = np.asarray(ratings, np.float64)
    return 1 + (rating > NEUTRAL_UP_TO).astype(np.int64) - (rating < -NEUTRAL_UP_TO)


def _data(corpus: vader.Corpus) -> Data:
    groups = connected(corpus.documents, [text.lower() for text in corpus.texts])
    part_of = split_groups(groups, corpus.domains, SHARES, seed=SEED)
    parts = {part.name.lower(): np.flatnonzero(part_of == part) for part in Part}
    texts = np.array(corpus.texts, object)
    targets: dict[str, Any] = {
        "polarity": polarity(corpus.ratings),
        "intensity": np.array(corpus.ratings),
        "domain": np.array(corpus.domains),
    }
    test = parts["test"]
    return Data(
        inputs={part: texts[at] for part, at in parts.items()},
        targets={task: {part: values[at] for part, at in parts.items()} for task, values in targets.items()},
        held_out={
            **pack("text", texts[test].tolist()),
            "group": groups[test],
            "polarity": np.array(POLARITIES)[targets["polarity"][test]],
            "intensity": targets["intensity"][test].astype(np.float32),
            "domain": targets["domain"][test],
        },
        card={
            "name": "VADER ground truth (Hutto & Gilbert, ICWSM 2014), from vaderSentiment 3.3.2",
            "licence": vader.LICENCE,
            "sha256": vader.ARCHIVE.sha256,
            "split": f"by document and repeated sentence, shared out alike in each domain, seed {SEED}",
            "rows": {part: len(at) for part, at in parts.items()},
        },
    )


def _recipes(lexicon: tuple[str, ...]) -> tuple[Recipe, ...]:
    return (
        Recipe(
            name="polarity-words",
            task="polarity",
            features=WORDS,
            learner=LogisticRegression(max_iter=300),
            grid={"C": [1.0, 2.0, 4.0]},
            outputs=_POLARITY,
        ),
        Recipe(
            name="polarity-chars",
            task="polarity",
            features=LETTERS,
            learner=SGDClassifier(loss="log_loss", random_state=SEED),
            grid={"alpha": [3e-5, 2e-5, 1e-5]},
            outputs=_POLARITY,
        ),
        Recipe(
            name="polarity-bayes",
            task="polarity",
            features=WORDS,
            learner=MultinomialNB(),
            grid={"alpha": [0.5, 0.2, 0.1]},
            outputs=_POLARITY,
        ),
        Recipe(
            name="polarity-lexicon",
            task="polarity",
            features=CountVectorizer(
                vocabulary=_vocabulary(lexicon), token_pattern=PATTERN, binary=True, dtype=np.float32
            ),
            learner=MLPClassifier((32,), early_stopping=True, random_state=SEED),
            grid={"learning_rate_init": [0.001, 0.003]},
            outputs=_POLARITY,
        ),
        Recipe(
            name="intensity",
            task="intensity",
            features=WORDS,
            learner=Ridge(solver="sparse_cg"),
            grid={"alpha": [2.0, 1.0, 0.5]},
            outputs=_SCORE,
        ),
        Recipe(
            name="domain",
            task="domain",
            features=WORDS,
            learner=LogisticRegression(max_iter=300),
            grid={"C": [3.0, 10.0]},
            outputs=_DOMAIN,
        ),
    )


def _vocabulary(lexicon: tuple[str, ...]) -> list[str]:
    return sorted(
        {word for word in lexicon if word == word.lower() and re.fullmatch(PATTERN, word)} | {*MODIFIERS}
    )
