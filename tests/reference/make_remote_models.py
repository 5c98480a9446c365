#!/usr/bin/env python3
"""Tiny random models of the families whose code comes with the models and not with transformers, with the logits that
this code computes for them. The files are committed; run this only to make others.

    python tests/reference/make_remote_models.py CODE tests/data/models

CODE is a folder outside of this tree with two packages (each with an empty __init__.py): `qwen` with modeling_qwen.py,
configuration_qwen.py and qwen_generation_utils.py as published with Qwen-7B, and `internlm2` with
modeling_internlm2.py and configuration_internlm2.py as published with InternLM2-7B. The files are as those of
make_tiny_models.py, config.json has the keys of the published one.
"""
import json
import shutil
import sys
from pathlib import Path

import gguf
import torch
from safetensors.torch import save_file

from make_tiny_models import permute, randomize, save_golden, save_goldens

INTERNLM2 = dict(vocab_size=200, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
                 num_key_value_heads=2, max_position_embeddings=64, bias=True, rms_norm_eps=1e-5, rope_theta=10000,
                 hidden_act="silu", tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=2)
DYNAMIC = dict(rope_scaling=dict(type="dynamic", factor=2.0))
# Dynamic NTK takes steps at 64 x 1, 3, 7: 150 tokens get the second one.
QWEN = dict(vocab_size=200, hidden_size=32, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
            kv_channels=8, seq_length=64, max_position_embeddings=256, layer_norm_epsilon=1e-6, rotary_emb_base=10000,
            rotary_pct=1.0, no_bias=True, tie_word_embeddings=False, use_dynamic_ntk=True, use_logn_attn=True)


def qwen(settings):
    from qwen import modeling_qwen as code
    from qwen.configuration_qwen import QWenConfig
    code.QWenModel.get_head_mask = lambda self, mask, n: [None] * n  # newer transformers have it no more
    return code.QWenLMHeadModel(QWenConfig(**settings, fp32=True, use_flash_attn=False))


def internlm2(settings):
    from internlm2.configuration_internlm2 import InternLM2Config
    from internlm2.modeling_internlm2 import InternLM2ForCausalLM
    return InternLM2ForCausalLM(InternLM2Config(**settings, attn_implementation="eager"))


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def make_folder(folder, model, model_type, settings, seed):
    fresh(folder)
    randomize(model, seed)
    for p in model.parameters():
        p.data = p.data.to(torch.bfloat16).float()
    save_goldens(model.eval(), folder, seed)
    save_file({k: p.data.to(torch.bfloat16) for k, p in model.named_parameters()}, folder / "model.safetensors",
              metadata={"format": "pt"})
    config = dict(architectures=[type(model).__name__], model_type=model_type, torch_dtype="bfloat16", **settings)
    json.dump(config, open(folder / "config.json", "w"), indent=2)


# ---- GGUF: F16 throughout, so the file holds what the model gets back ----

QWEN_NAMES = {"transformer.wte": "token_embd", "transformer.ln_f": "output_norm", "lm_head": "output",
              "ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
              "mlp.w2": "ffn_gate", "mlp.w1": "ffn_up", "mlp.c_proj": "ffn_down"}
INTERNLM2_NAMES = {"model.tok_embeddings": "token_embd", "model.norm": "output_norm", "output": "output",
                   "attention_norm": "attn_norm", "ffn_norm": "ffn_norm", "attention.wqkv": "attn_qkv",
                   "attention.wo": "attn_output", "feed_forward.w1": "ffn_gate", "feed_forward.w3": "ffn_up",
                   "feed_forward.w2": "ffn_down"}


def name_of(key, names):
    stem, kind = key.rsplit(".", 1)
    parts = stem.split(".")
    if len(parts) > 3:
        return f"blk.{parts[2]}.{names['.'.join(parts[3:])]}.{kind}"
    return f"{names[stem]}.{kind}"


def split_grouped(name, value, heads, kv_heads):
    """wqkv, KV head by KV head, as q, k and v with the rows of q and k for RoPE over adjacent pairs."""
    group, dim = heads // kv_heads, value.shape[0] // (heads + 2 * kv_heads)
    parts = value.reshape(kv_heads, group + 2, dim, *value.shape[1:])
    rest = value.shape[1:]
    q, k, v = parts[:, :group].reshape(-1, *rest), parts[:, group].reshape(-1, *rest), parts[:, group + 1].reshape(-1, *rest)
    return {name.replace("attn_qkv", "attn_q"): permute(q, heads), name.replace("attn_qkv", "attn_k"): permute(k, kv_heads),
            name.replace("attn_qkv", "attn_v"): v}


def make_gguf(folder, model, arch, names, settings, seed):
    fresh(folder)
    randomize(model, seed)
    w = gguf.GGUFWriter(folder / "model.gguf", arch)
    heads = settings["num_attention_heads"]
    w.add_context_length(settings["max_position_embeddings"])
    w.add_embedding_length(settings["hidden_size"])
    w.add_block_count(settings["num_hidden_layers"])
    w.add_feed_forward_length(settings["intermediate_size"])
    w.add_head_count(heads)
    w.add_head_count_kv(settings.get("num_key_value_heads", heads))
    w.add_rope_freq_base(10000.0)
    w.add_rope_dimension_count(settings["hidden_size"] // heads)
    w.add_layer_norm_rms_eps(settings.get("rms_norm_eps", settings.get("layer_norm_epsilon")))
    for key, p in model.named_parameters():
        if p.ndim == 2:
            p.data = p.data.half().float()
        value, name = p.data.numpy(), name_of(key, names)
        kind = "float16" if p.ndim == 2 else "float32"
        parts = {name: value}
        if arch == "internlm2" and "attn_qkv" in name:
            parts = split_grouped(name, value, heads, settings["num_key_value_heads"])
        for part, v in parts.items():
            w.add_tensor(part, v.astype(kind))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    save_golden(model.eval(), folder, seed)


def main():
    sys.path.insert(0, sys.argv[1])
    out = Path(sys.argv[2])
    settings = dict(INTERNLM2, **DYNAMIC)
    make_folder(out / "internlm2", internlm2(settings), "internlm2", settings, 300)
    make_folder(out / "qwen", qwen(QWEN), "qwen", QWEN, 301)
    long = dict(INTERNLM2, max_position_embeddings=512, rope_scaling=dict(type="linear", factor=1.0))  # so: none
    make_gguf(out / "internlm2-gguf", internlm2(long), "internlm2", INTERNLM2_NAMES, long, 302)
    long = dict(QWEN, seq_length=512, max_position_embeddings=512)
    make_gguf(out / "qwen-gguf", qwen(long), "qwen", QWEN_NAMES, long, 303)


if __name__ == "__main__":
    main()
