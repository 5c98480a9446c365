"""A tiny random Qwen2 in a folder, for tests of the server that need a model but not its answers: it loads at once, and
the memory that a test sees is the server's own. As a program: tiny.py FOLDER..."""
import json
import struct
import sys
from pathlib import Path

import numpy as np

VOCAB, HIDDEN, LAYERS, HEADS, KV, FFN, CONTEXT = 258, 32, 2, 4, 2, 64, 8192
TEMPLATE = ("{%- for m in messages -%}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{%- if add_generation_prompt -%}<|im_start|>assistant\n{% endif %}")


def byte_chars():
    """GPT-2's printable stand-ins for the 256 bytes."""
    plain = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    rest = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(rest)) for b in range(256)]


def tokenizer():
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    return {"version": "1.0", "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
            "added_tokens": [{"id": 256 + i, "content": c, **flags} for i, c in enumerate(["<|im_start|>", "<|im_end|>"])],
            "model": {"type": "BPE", "vocab": {c: i for i, c in enumerate(byte_chars())}, "merges": []}}


def weights():
    random = np.random.default_rng(7)
    width = HIDDEN // HEADS * KV
    shapes = {"model.embed_tokens.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for i in range(LAYERS):
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in {
            "input_layernorm.weight": (HIDDEN,), "post_attention_layernorm.weight": (HIDDEN,),
            "self_attn.q_proj.weight": (HIDDEN, HIDDEN), "self_attn.q_proj.bias": (HIDDEN,),
            "self_attn.k_proj.weight": (width, HIDDEN), "self_attn.k_proj.bias": (width,),
            "self_attn.v_proj.weight": (width, HIDDEN), "self_attn.v_proj.bias": (width,),
            "self_attn.o_proj.weight": (HIDDEN, HIDDEN), "mlp.gate_proj.weight": (FFN, HIDDEN),
            "mlp.up_proj.weight": (FFN, HIDDEN), "mlp.down_proj.weight": (HIDDEN, FFN)}.items()}
    head, data = {}, b""
    for name, shape in shapes.items():
        values = random.uniform(-.3, .3, shape) + (1 if name.endswith("norm.weight") else 0)
        raw = values.astype("<f4").tobytes()
        head[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + data


def make(folder):
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "dtype": "float32", "vocab_size": VOCAB,
              "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV,
              "intermediate_size": FFN, "max_position_embeddings": CONTEXT, "tie_word_embeddings": True, "rope_theta": 10000.0,
              "eos_token_id": 257}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", "chat_template": TEMPLATE}))
    (folder / "model.safetensors").write_bytes(weights())
    return folder


if __name__ == "__main__":
    for name in sys.argv[1:]:
        make(Path(name))
