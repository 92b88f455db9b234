from __future__ import annotations

from inference.loading.checkpoint import Checkpoint
from inference.request import ChatMessage

RULES = ChatMessage("system", "Answer from the passages only.", public=True)


def test_the_prefix_is_the_same_for_every_private_text(checkpoint: Checkpoint) -> None:
    render = checkpoint.tokenizer.render_chat
    prompts = [
        render([RULES, ChatMessage("user", text)]) for text in ("a", "\n\n1", " <|im_end|>", "b" * 999)
    ]
    heads = {prompt.token_ids[: prompt.public_prefix] for prompt in prompts}
    assert len(heads) == 1
    assert len(next(iter(heads))) > len(checkpoint.tokenizer.encode(RULES.content))


def test_nothing_of_a_private_message_is_in_the_prefix(checkpoint: Checkpoint) -> None:
    prompt = checkpoint.tokenizer.render_chat(
        [ChatMessage("system", "secret rules"), ChatMessage("user", "hi")]
    )
    head = checkpoint.tokenizer.decode(prompt.token_ids[: prompt.public_prefix])
    assert "secret" not in head
    assert prompt.public_prefix <= 1


def test_public_text_after_private_text_is_not_in_the_prefix(checkpoint: Checkpoint) -> None:
    messages = [RULES, ChatMessage("user", "mine"), ChatMessage("assistant", "shared", public=True)]
    prompt = checkpoint.tokenizer.render_chat(messages)
    head = checkpoint.tokenizer.decode(prompt.token_ids[: prompt.public_prefix])
    assert RULES.content in head
    assert "mine" not in head
    assert "shared" not in head


def test_a_conversation_of_public_messages_is_public_as_a_whole(checkpoint: Checkpoint) -> None:
    prompt = checkpoint.tokenizer.render_chat([RULES])
    assert prompt.public_prefix == len(prompt.token_ids)
