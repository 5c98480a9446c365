#!/usr/bin/env python3
"""Writes a Qwen2-family GGUF file as a Hugging Face folder in BF16: config.json, tokenizer files, safetensors.

    python tools/gguf_to_hf.py MODEL.gguf FOLDER

Needs numpy and gguf. The weights are those that the quantized file means, rounded to BF16: good for learning
what number formats cost, not a way back to the weights from before quantization.
"""
import json
import struct
import sys
from pathlib import Path

import gguf
import numpy as np

NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
         "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5


def hf_name(name):
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{LAYER[parts[2]]}.{parts[3]}"
    return f"{NAMES[parts[0]]}.{parts[1]}"


def to_bf16(x):
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write_tensors(reader, path):
    head, offset = {}, 0
    for t in reader.tensors:
        shape = [int(n) for n in reversed(t.shape)]
        size = 2 * int(np.prod(shape))
        head[hf_name(t.name)] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for t in reader.tensors:
            out.write(to_bf16(gguf.quants.dequantize(t.data, t.tensor_type)).tobytes())


def field(reader, key):
    return reader.fields[key].contents()


def write_config(reader, folder):
    arch = field(reader, "general.architecture")
    get = lambda key: field(reader, f"{arch}.{key}")
    names = {t.name for t in reader.tensors}
    config = {
        "architectures": ["Qwen2ForCausalLM"], "model_type": arch, "dtype": "bfloat16",
        "hidden_size": int(get("embedding_length")), "num_hidden_layers": int(get("block_count")),
        "num_attention_heads": int(get("attention.head_count")),
        "num_key_value_heads": int(get("attention.head_count_kv")),
        "intermediate_size": int(get("feed_forward_length")), "max_position_embeddings": int(get("context_length")),
        "rms_norm_eps": float(get("attention.layer_norm_rms_epsilon")),
        "rope_parameters": {"rope_type": "default", "rope_theta": float(get("rope.freq_base"))},
        "tie_word_embeddings": "output.weight" not in names, "hidden_act": "silu",
        "vocab_size": int(reader.tensors[[t.name for t in reader.tensors].index("token_embd.weight")].shape[1]),
        "bos_token_id": int(field(reader, "tokenizer.ggml.bos_token_id")),
        "eos_token_id": int(field(reader, "tokenizer.ggml.eos_token_id")),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def write_tokenizer(reader, folder):
    tokens, types = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
    kinds = [int(k) for k in types]
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": kinds[i] == CONTROL} for i, t in enumerate(tokens) if kinds[i] in (CONTROL, USER_DEFINED)]
    body = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens) if kinds[i] == NORMAL},
                  "merges": field(reader, "tokenizer.ggml.merges")},
    }
    (folder / "tokenizer.json").write_text(json.dumps(body, ensure_ascii=False))
    config = {"chat_template": field(reader, "tokenizer.chat_template"), "add_bos_token": False,
              "eos_token": tokens[int(field(reader, "tokenizer.ggml.eos_token_id"))]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=1))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    reader, folder = gguf.GGUFReader(sys.argv[1]), Path(sys.argv[2])
    if field(reader, "general.architecture") != "qwen2":
        sys.exit("gguf_to_hf.py: this tool writes the Qwen2 family only")
    folder.mkdir(parents=True, exist_ok=True)
    write_config(reader, folder)
    write_tokenizer(reader, folder)
    write_tensors(reader, folder / "model.safetensors")
    print(folder)


if __name__ == "__main__":
    main()
