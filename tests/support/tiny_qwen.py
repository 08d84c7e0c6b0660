"""A Qwen3-VL of the real class, small enough to be made and taught in a test.

It has random weights at first, and then learns by heart what to say to a few pictures, so that its answers
depend on what it sees.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ictmri_baselines.localizer.vlm import qwen3_vl
from ictmri_baselines.localizer.vlm.prompts import Prompt
from ictmri_baselines.localizer.vlm.slices import Picture

PIXELS = 224
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "processor_class": "Qwen3VLProcessor",
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
}
SURE = 0.9
"""Probability that each token must have at least, so that rounding cannot change the answer."""
STEPS = 400


def make_tiny_qwen(folder: Path) -> Path:
    """Write model, tokenizer, image processor and chat template as the Hub's repositories have them."""
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    torch.manual_seed(1)
    model = Qwen3VLForConditionalGeneration(_config(tokenizer))
    # What the real weights come with: sampling, which a detector must not do.
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model.generation_config.do_sample = True
    model.generation_config.temperature = 0.7
    model.save_pretrained(folder)
    return folder


def teach(folder: Path, prompt: Prompt, shown: Sequence[Picture], said: Sequence[str]) -> None:
    """Train the model in ``folder`` until it says the right thing to each picture."""
    import torch

    options = qwen3_vl.QwenVL(model=str(folder), dtype="float32", device="cpu", pixels=PIXELS)
    loaded = qwen3_vl._load(options)
    batch = _with_answers(loaded, prompt, shown, said)
    right = batch.pop("labels")[:, 1:]
    model = loaded.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    torch.manual_seed(1)
    for _ in range(STEPS):
        logits = model(**batch).logits[:, :-1][right >= 0]
        losses = torch.nn.functional.cross_entropy(logits, right[right >= 0], reduction="none")
        optimizer.zero_grad()
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if losses.max().exp().item() < 1 / SURE:
            break
    else:
        raise AssertionError(f"not learnt after {STEPS} steps: {losses.max().item():.2f} nats")
    model.save_pretrained(folder)


def _with_answers(
    loaded: Any, prompt: Prompt, shown: Sequence[Picture], said: Sequence[str]
) -> dict[str, Any]:
    import torch

    inputs = qwen3_vl.inputs_for(loaded, shown, prompt)
    tokenizer = loaded.tokenizer
    rows = [tokenizer(f"{text}<|im_end|>", add_special_tokens=False)["input_ids"] for text in said]
    longest = max(map(len, rows))
    padded = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
    real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    unlearnt = torch.full_like(inputs["input_ids"], -100)
    added = {
        "input_ids": padded,
        "attention_mask": real,
        "mm_token_type_ids": torch.zeros_like(padded),
        "labels": torch.where(real > 0, padded, -100),
    }
    before = inputs | {"labels": unlearnt}
    return inputs | {name: torch.cat([before[name], added[name]], dim=1) for name in added}


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(letters)}
    bytes_only = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL),
    )


def _config(tokenizer: Any) -> Any:
    from transformers import Qwen3VLConfig

    number = tokenizer.convert_tokens_to_ids
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "initializer_range": 0.05,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": 2,
            "initializer_range": 0.05,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )
