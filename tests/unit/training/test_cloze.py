"""Cloze spans: what is hidden, and that it stands where it is said to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from training.data.cloze import BLANK, items

WORDS = st.lists(
    st.sampled_from(["Ann", "Lee", "Bob", "met", "the", "U.", "cat", "Mr."]), min_size=1, max_size=8
)
SENTENCES = st.lists(WORDS.map(lambda words: " ".join(words) + "."), max_size=8)


@given(SENTENCES, st.data())
def test_the_hidden_name_is_in_the_context_and_not_in_the_question(
    sentences: list[str], data: st.DataObject
) -> None:
    """All spans are the same name, whole words, and the blank is where it was."""
    documents = sorted(data.draw(st.sampled_from("ab")) for _ in sentences)
    for item in items(sentences, documents):
        (name,) = {item.context[begin:end] for begin, end in item.spans}
        assert BLANK in item.question
        assert item.question.replace(BLANK, name) in sentences
        assert f" {name}." not in item.question
        own = [s for s, document in zip(sentences, documents, strict=True) if document == item.document]
        assert item.context in {" ".join(own[:i] + own[i + 1 :]) for i in range(len(own))}
        for begin, end in item.spans:
            assert not item.context[begin - 1 : begin].isalnum()
            assert not item.context[end : end + 1].isalnum()


def test_a_sentence_gives_one_item_and_documents_do_not_mix() -> None:
    """The first name that stands elsewhere in the document; a first word is no name, a possessive is one."""
    found = items(
        ["We saw Ann Lee and Bob.", "Bob left Ann Lee's cat.", "Then Bob came.", "Who is Bob?"],
        ["a", "a", "b", "c"],
    )
    assert [(item.question, item.context[slice(*item.spans[0])]) for item in found] == [
        (f"We saw {BLANK} and Bob.", "Ann Lee"),
        (f"Bob left {BLANK}'s cat.", "Ann Lee"),
    ]
