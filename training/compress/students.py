"""Small models that take the same tokens as their teacher, each with a head for each task.

- *layers*: some of the teacher's own layers, the first and the last among them.
- *cnn*: two convolutions over the teacher's embeddings, narrowed; the largest and the mean of each channel.
- *bag*: sums of the words' embeddings and of those of hashed pairs of neighbours, and a layer over them.

Padding never has a say: it is masked before anything looks at a neighbour. Embeddings of cnn and bag start
as the principal components of the teacher's.

Sources: V. Sanh et al., "DistilBERT", 2019; Y. Kim, "Convolutional Neural Networks for Sentence
Classification", EMNLP 2014; A. Joulin et al., "Bag of Tricks for Efficient Text Classification", EACL 2017;
R. Tang et al., "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks", 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from training.data import Kind
from training.errors import TrainingError
from training.models.bag import BagEncoder
from training.models.heads import States
from training.models.model import Model
from training.models.text import TextEncoder
from training.models.tokens import TokenFeed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenizers import Tokenizer
    from torch import Tensor

    from training.data import Dataset

__all__ = ["ConvolutionEncoder", "student"]


class ConvolutionEncoder(nn.Module):
    """Two convolutions; the mean of each channel, and its largest value.

    Args:
        tokenizer: Cuts texts into tokens.
        words: The embeddings that it starts from, [v, h].
        max_length: Most tokens of a text.
        dropout: Share of activations that is dropped.
    """

    kind = "cnn"

    def __init__(self, tokenizer: Tokenizer, words: Tensor, *, max_length: int, dropout: float) -> None:
        super().__init__()
        inner = words.shape[1]
        self.tokenizer, self.max_length, self.width = tokenizer, max_length, 2 * inner
        self.words = nn.Embedding.from_pretrained(words, freeze=False)
        self.first = nn.Conv1d(inner, inner, 3, padding=1)
        self.second = nn.Conv1d(inner, inner, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList()
        self.frozen = 0

    def describe(self) -> dict[str, Any]:
        """Return what it is, but for its weights, fit for JSON."""
        return {"kind": self.kind, "width": self.width // 2, "max_length": self.max_length}

    def feed(self, dataset: Dataset) -> TokenFeed:
        """Cut a data set's texts into tokens."""
        return TokenFeed.of(dataset, self.tokenizer, self.max_length)

    def forward(self, batch: Mapping[str, Tensor]) -> States:
        """Encode a batch."""
        kept = batch["attention_mask"][:, None, :].to(self.words.weight.dtype)
        x = self.dropout(self.words(batch["input_ids"])).transpose(1, 2) * kept
        x = torch.relu(self.first(x)) * kept
        x = torch.relu(x + self.second(x)) * kept
        mean = x.sum(2) / kept.sum(2).clamp(min=1)
        # nothing is below 0, so padding is never the largest
        return States(row=torch.cat([mean, x.amax(2)], 1))


def student(
    teacher: Model,
    kind: Literal["layers", "cnn", "bag"],
    *,
    layers: int = 2,
    width: int = 128,
    dropout: float = 0.1,
) -> Model:
    """Return an untrained student.

    Args:
        teacher: What it is to answer like.
        kind: Which.
        layers: How many a student of layers has.
        width: Of the other students' embeddings.
        dropout: Share of activations that is dropped.

    Raises:
        TrainingError: If the teacher reads no texts, or no such student can answer its tasks.
    """
    source = teacher.encoder
    if not isinstance(source, TextEncoder):
        raise TrainingError(
            "compress", f"an encoder of kind {source.kind!r} has no students", "leave distil out"
        )
    spans = [task for task, answer in teacher.answers.items() if answer.kind is Kind.SPAN]
    if spans:
        raise TrainingError(
            f"task {spans[0]!r}", "a span is not distilled: students keep no tokens", "leave distil out"
        )
    if kind == "layers":
        made = Model(_fewer(source, layers, dropout), teacher.answers, dropout)
        made.heads.load_state_dict(teacher.heads.state_dict())
        return made
    words = _narrowed(source, width)
    options: dict[str, Any] = {"max_length": source.max_length, "dropout": dropout}
    if kind == "cnn":
        return Model(ConvolutionEncoder(source.tokenizer, words, **options), teacher.answers, dropout)
    encoder = BagEncoder(source.tokenizer, width=width, **options)
    with torch.no_grad():
        encoder.tokens.weight.copy_(words[: len(encoder.tokens.weight)])
    return Model(encoder, teacher.answers, dropout)


def _fewer(source: TextEncoder, count: int, dropout: float) -> TextEncoder:
    """Return an encoder of some of the layers, the first and the last among them."""
    last = len(source.layers) - 1
    if not 1 <= count <= last:
        raise TrainingError(
            "compress",
            f"a student of {count} layers cannot be cut out of {last + 1}",
            f"say 1 to {last} layers",
        )
    about = source.describe()
    about["config"]["num_hidden_layers"] = count
    made = TextEncoder.described(about, source.tokenizer, dropout=dropout)
    chosen = [round(i * last / (count - 1)) for i in range(count)] if count > 1 else [0]
    place = {str(old): str(new) for new, old in enumerate(chosen)}
    begin = next(name for name, module in source.named_modules() if module is source.layers) + "."
    weights = {}
    for name, value in source.state_dict().items():
        number, _, rest = name.removeprefix(begin).partition(".")
        if not name.startswith(begin):
            weights[name] = value
        elif number in place:
            weights[f"{begin}{place[number]}.{rest}"] = value
    _shape(made, weights)
    made.load_state_dict(weights)
    return made


def _shape(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Make dense layers as narrow as their weights, which may have been cut."""
    for name, module in model.named_modules():
        weight = weights.get(f"{name}.weight")
        if isinstance(module, nn.Linear) and weight is not None and weight.shape != module.weight.shape:
            module.out_features, module.in_features = weight.shape
            module.weight = nn.Parameter(torch.empty_like(weight))
            if module.bias is not None:
                module.bias = nn.Parameter(torch.empty_like(weights[f"{name}.bias"]))


def _narrowed(source: TextEncoder, width: int) -> Tensor:
    """Return the principal components of the teacher's embeddings, scaled alike, [v, width]."""
    tables = [module.weight for module in source.modules() if isinstance(module, nn.Embedding)]
    table = max(tables, key=torch.numel).detach().double().cpu()
    centred = table - table.mean(0)
    _, axes = torch.linalg.eigh(centred.T @ centred)
    narrow = centred @ axes.flip(1)[:, :width]
    if narrow.shape[1] < width:
        narrow = nn.functional.pad(narrow, (0, width - narrow.shape[1]))
    return (narrow / narrow.square().mean().sqrt()).float()
