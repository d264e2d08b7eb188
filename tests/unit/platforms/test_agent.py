"""What a guest's agent answers is taken for what it is: words of a guest."""

import pytest

from holdfast.platforms.libvirt.agent import AgentError, read_answer


@pytest.mark.parametrize(
    "text", ['{"return": "x"}', '{"return": true}', '{"return": null}', "{}", "null", "[]", "3", "", "{", "[" * 100_000]
)
def test_an_answer_of_another_kind_than_asked_for_is_an_error_of_the_agent(text: str) -> None:
    with pytest.raises(AgentError, match="makes no sense"):
        read_answer(text, int)


def test_an_answer_of_the_kind_asked_for_is_returned() -> None:
    assert read_answer('{"return": 3}', int) == 3
    assert read_answer('{"return": "thawed"}', str) == "thawed"
