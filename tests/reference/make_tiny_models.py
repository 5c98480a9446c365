#!/usr/bin/env python3
"""Tiny random models of every architecture, with the logits that transformers computes for them, for
tests/unit/model. The files are committed; run this only to make others.

    python tests/reference/make_tiny_models.py tests/data/models [NAME ...]

Needs torch, transformers, safetensors and gguf. Every folder holds a model as it is published (config.json and
safetensors, or model.gguf) and
    golden.json  {"tokens": [150 ids], "positions": [which positions golden.bin has]}; also "context" where RoPE depends
                 on the longest length (here that of the tokens), and "of" where the folder of that name has the model
    golden.bin   float32 logits [positions, vocab] of transformers in float32 with eager attention
make_remote_models.py makes those of families that transformers itself does not have. Beside them, rope.json has the inverse frequencies that transformers computes for RoPE of every kind.
"""
import json
import math
import random
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import (Gemma3Config, Gemma3ForCausalLM, Gemma3ForConditionalGeneration, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM,
                          MistralConfig, MistralForCausalLM, Phi3Config, Phi3ForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM, Qwen3Config, Qwen3ForCausalLM,
                          Qwen3MoeConfig, Qwen3MoeForCausalLM, SmolLM3Config, SmolLM3ForCausalLM)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

VOCAB = 200
TOKENS = 150
SMALL = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=512, bos_token_id=None, eos_token_id=1)
WIDE = dict(SMALL, hidden_size=64, intermediate_size=96, num_hidden_layers=2)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
GEMMA3 = dict(SMALL, num_hidden_layers=4, head_dim=24, query_pre_attn_scalar=20, sliding_window=16, rms_norm_eps=1e-5,
              layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
              rope_parameters={"full_attention": dict(rope_type="linear", factor=2.0, rope_theta=50000.0),
                               "sliding_attention": dict(rope_type="default", rope_theta=1000.0)})
LONGROPE = dict(rope_type="longrope", rope_theta=10000.0, original_max_position_embeddings=64,
                short_factor=[1.0, 1.1, 1.3], long_factor=[1.2, 2.5, 6.0])
# what Phi-4-mini and Phi-3.5 differ in from Phi-3: RoPE on a part of the head, long factors, shared keys
PHI3_LONG = dict(SMALL, tie_word_embeddings=True, rope_parameters=dict(LONGROPE, partial_rotary_factor=0.75),
                 pad_token_id=0, original_max_position_embeddings=64)
TRAINED = 60  # tokens of a second golden file within the trained length of 64

# name: (config class, model class, configuration, dtype of the file, how it is saved)
FOLDERS = {
    "qwen2-tied": (Qwen2Config, Qwen2ForCausalLM, dict(SMALL, tie_word_embeddings=True), torch.float32, {}),
    "qwen2-untied": (Qwen2Config, Qwen2ForCausalLM, dict(WIDE, tie_word_embeddings=False), torch.bfloat16, {}),
    "qwen2-yarn": (Qwen2Config, Qwen2ForCausalLM,
                   dict(SMALL, tie_word_embeddings=True,
                        rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0,
                                             original_max_position_embeddings=64)), torch.float32, {}),
    "qwen2-window": (Qwen2Config, Qwen2ForCausalLM,
                     dict(SMALL, tie_word_embeddings=True, use_sliding_window=True, sliding_window=20,
                          max_window_layers=1), torch.float32, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, dict(SMALL, head_dim=24, tie_word_embeddings=True), torch.float16, {}),
    "llama": (LlamaConfig, LlamaForCausalLM, dict(SMALL, tie_word_embeddings=False), torch.float32,
              dict(max_shard_size="80KB")),
    "llama-linear": (LlamaConfig, LlamaForCausalLM,
                     dict(SMALL, tie_word_embeddings=True, attention_bias=True, mlp_bias=True,
                          rope_parameters=dict(rope_type="linear", rope_theta=5000.0, factor=4.0)),
                     torch.float32, {}),
    "llama3": (LlamaConfig, LlamaForCausalLM, dict(SMALL, tie_word_embeddings=True, rope_parameters=LLAMA3),
               torch.float32, {}),
    "mistral": (MistralConfig, MistralForCausalLM,
                dict(SMALL, num_key_value_heads=1, sliding_window=16, tie_word_embeddings=True), torch.float32, {}),
    "qwen2-moe": (Qwen2MoeConfig, Qwen2MoeForCausalLM,
                  dict(SMALL, moe_intermediate_size=16, shared_expert_intermediate_size=24, num_experts=6,
                       num_experts_per_tok=3, mlp_only_layers=[1], tie_word_embeddings=True), torch.bfloat16, {}),
    "qwen3-moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM,
                  dict(SMALL, moe_intermediate_size=16, num_experts=5, num_experts_per_tok=2, norm_topk_prob=True,
                       decoder_sparse_step=2, num_hidden_layers=4, head_dim=16, tie_word_embeddings=True),
                  torch.float16, {}),
    "gemma3": (Gemma3TextConfig, Gemma3ForCausalLM, GEMMA3, torch.bfloat16, {}),
    "gemma3-vision": (Gemma3Config, Gemma3ForConditionalGeneration,
                      dict(text_config=dict(GEMMA3, num_hidden_layers=2, layer_types=["sliding_attention",
                                                                                      "full_attention"]),
                           vision_config=dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                                              num_attention_heads=1, image_size=8, patch_size=4),
                           mm_tokens_per_image=4, image_token_index=199, boi_token_index=198, eoi_token_index=197),
                      torch.bfloat16, {}),
    "phi3": (Phi3Config, Phi3ForCausalLM,
             dict(SMALL, num_key_value_heads=4, sliding_window=20, tie_word_embeddings=False, pad_token_id=0),
             torch.bfloat16, {}),
    "phi3-long": (Phi3Config, Phi3ForCausalLM, PHI3_LONG, torch.bfloat16, {}),
    "llama-dynamic": (LlamaConfig, LlamaForCausalLM,
                      dict(SMALL, tie_word_embeddings=True, max_position_embeddings=64,
                           rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0)),
                      torch.bfloat16, {}),
    "smollm3": (SmolLM3Config, SmolLM3ForCausalLM,
                dict(SMALL, num_hidden_layers=4, tie_word_embeddings=True, attention_bias=True, mlp_bias=True,
                     rms_norm_eps=1e-5, pad_token_id=0, no_rope_layers=[1, 0, 0, 1], use_sliding_window=True,
                     sliding_window=20, rope_parameters=dict(rope_type="default", rope_theta=5000.0)),
                torch.bfloat16, {}),
}
DEPENDS_ON_LENGTH = ["phi3-long", "phi3-gguf", "llama-dynamic", "internlm2", "qwen"]

GGUF_SIZES = dict(WIDE, num_key_value_heads=2, attn_implementation="eager")
# name: (config class, model class, configuration, the matrices' types in turn)
GGUFS = {
    "qwen2-gguf": (Qwen2Config, Qwen2ForCausalLM, dict(tie_word_embeddings=True), ["Q5_0", "Q8_0", "Q5_1", "Q4_1"]),
    "llama-gguf": (LlamaConfig, LlamaForCausalLM, dict(tie_word_embeddings=False, attention_bias=True, rope_parameters=LLAMA3),
                   ["Q8_0", "Q4_0", "F16", "BF16"]),
    "qwen2-moe-gguf": (Qwen2MoeConfig, Qwen2MoeForCausalLM,
                      dict(tie_word_embeddings=True, moe_intermediate_size=32, shared_expert_intermediate_size=64,
                           num_experts=4, num_experts_per_tok=2), ["Q8_0", "Q5_0"]),
    "gemma3-gguf": (Gemma3TextConfig, Gemma3ForCausalLM,
                    dict(head_dim=32, query_pre_attn_scalar=32, sliding_window=16, num_hidden_layers=7,
                         hidden_size=32, intermediate_size=64,
                         rope_parameters={"full_attention": dict(rope_type="linear", factor=2.0, rope_theta=1e6),
                                          "sliding_attention": dict(rope_type="default", rope_theta=10000.0)}),
                    ["Q8_0", "Q5_0"]),
    "phi3-gguf": (Phi3Config, Phi3ForCausalLM,
                  dict(tie_word_embeddings=False, pad_token_id=0, original_max_position_embeddings=64,
                       rope_parameters=dict(LONGROPE, short_factor=[1.0, 1.1, 1.3, 1.4, 1.6, 1.9],
                                            long_factor=[1.2, 2.5, 6.0, 6.5, 7.0, 8.5], partial_rotary_factor=0.75)),
                  ["Q8_0", "F16"]),
    "qwen2-yarn-gguf": (Qwen2Config, Qwen2ForCausalLM,
                        dict(tie_word_embeddings=True, hidden_size=32, intermediate_size=64,
                             rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=8.0, beta_fast=20.0,
                                                  beta_slow=2.0, attention_factor=1.25,
                                                  original_max_position_embeddings=64)), ["Q8_0", "F16"]),
    "smollm3-gguf": (SmolLM3Config, SmolLM3ForCausalLM,
                     dict(tie_word_embeddings=True, hidden_size=32, intermediate_size=64, num_hidden_layers=5,
                          pad_token_id=0, rope_parameters=dict(rope_type="default", rope_theta=5000.0)),
                     ["Q8_0", "F16"]),
}


def randomize(model, seed):
    """Weights large enough that attention picks and logits differ."""
    generator = torch.Generator().manual_seed(seed)
    less = 1.5 if model.config.model_type.startswith("gemma3") else 0.5  # where a norm multiplies by 1 + weight
    for name, p in model.named_parameters():
        if "norm" in name or ".ln_" in name:
            p.data = torch.rand(p.shape, generator=generator) + (1 - less)
        else:
            p.data = torch.randn(p.shape, generator=generator) * 0.25


def tokens_for(seed):
    rng = random.Random(seed)
    return [rng.randrange(VOCAB) for _ in range(TOKENS)]


def save_golden(model, folder, seed, **more):
    """more: "context" and "of" of golden.json."""
    tokens = tokens_for(seed)[:more.get("context")]
    positions = list(range(0, len(tokens), 3)) + [len(tokens) - 1]
    with torch.no_grad():
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0].float().numpy()
    json.dump({"tokens": tokens, "positions": positions, **more}, open(folder / "golden.json", "w"))
    logits[positions].astype("<f4").tofile(folder / "golden.bin")
    print(f"{folder.name}: logits {logits.min():.2f} to {logits.max():.2f}, deviation {logits.std():.2f}")


def save_goldens(model, folder, seed):
    """Of a model whose RoPE depends on the length: beyond the trained length and, in a folder of its own, within."""
    if folder.name not in DEPENDS_ON_LENGTH:
        save_golden(model, folder, seed)
        return
    within = folder.with_name(folder.name + "-within")
    within.mkdir(exist_ok=True)
    save_golden(model, within, seed, context=TRAINED, of=folder.name)
    save_golden(model, folder, seed, context=TOKENS)


def transformers_4_names(folder):
    """The configuration as transformers 4 wrote it."""
    path = folder / "config.json"
    c = json.load(open(path))
    rope = c.pop("rope_parameters")
    c["rope_theta"] = rope.pop("rope_theta")
    c["rope_scaling"] = {"type": rope["rope_type"], "factor": rope["factor"]}
    c["torch_dtype"] = c.pop("dtype")
    c["transformers_version"] = "4.43.0"
    json.dump(c, open(path, "w"), indent=2)


def make_folder(out, name, seed):
    config_class, model_class, settings, dtype, saving = FOLDERS[name]
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    model = model_class(config_class(**settings, attn_implementation="eager"))
    randomize(model, seed)
    for p in model.parameters():
        p.data = p.data.to(dtype).float()  # what the file will hold; RoPE's buffers stay float32
    folder.mkdir(parents=True)
    save_goldens(model.eval(), folder, seed)
    model.to(dtype).save_pretrained(folder, **saving)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if name in ("llama-linear", "llama-dynamic"):
        transformers_4_names(folder)


# ---- GGUF ----

GGUF_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
              "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
              "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
              "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
              "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up", "self_attn.q_norm": "attn_q_norm",
              "self_attn.k_norm": "attn_k_norm", "mlp.gate": "ffn_gate_inp", "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
              "mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp",
              "mlp.shared_expert.down_proj": "ffn_down_shexp"}


GEMMA3_NAMES = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
                "post_feedforward_layernorm": "post_ffw_norm"}


def add_experts(w, key, p, kind):
    """transformers 5 holds gate and up of all experts in one parameter, [experts, 2 ffn, hidden]; GGUF in two tensors."""
    layer, value = key.split(".")[2], p.data.numpy()
    parts = {"ffn_down_exps": value}
    if key.endswith("gate_up_proj"):
        half = value.shape[1] // 2
        parts = {"ffn_gate_exps": value[:, :half], "ffn_up_exps": value[:, half:]}
    back = []
    for name, part in parts.items():
        packed = gguf.quants.quantize(np.ascontiguousarray(part), kind)
        w.add_tensor(f"blk.{layer}.{name}.weight", packed, raw_dtype=kind)
        back.append(gguf.quants.dequantize(packed, kind))
    p.data = torch.tensor(np.ascontiguousarray(np.concatenate(back, axis=1)))


def gguf_name(name, arch):
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("model.layers."):
        _, _, layer, rest = stem.split(".", 3)
        own = GEMMA3_NAMES.get(rest) if arch == "gemma3" else None
        return f"blk.{layer}.{own or GGUF_NAMES[rest]}.{kind}"
    return f"{GGUF_NAMES[stem]}.{kind}"


PERMUTED = {"llama", "smollm3"}  # architectures whose GGUF files have q and k so


def permute(w, heads):
    """Rows for RoPE over adjacent pairs, as Llama's GGUF files have q and k."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def llama3_divisors(config):
    """rope_freqs.weight: what plain frequencies are divided by."""
    plain = 1.0 / (config.rope_parameters["rope_theta"]
                   ** (torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim))
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    return (plain / scaled).numpy()


def add_rope(w, c):
    """As llama.cpp's converter has it."""
    rope = c.rope_parameters.get("full_attention", c.rope_parameters)
    w.add_rope_freq_base(rope["rope_theta"])
    if "full_attention" in c.rope_parameters:
        w.add_key_length(c.head_dim)
        w.add_sliding_window(c.sliding_window)
    if rope["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        w.add_rope_scaling_yarn_attn_factor(rope["attention_factor"])
        w.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        w.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
    if rope["rope_type"] == "longrope":
        longer, trained = c.max_position_embeddings / c.original_max_position_embeddings, c.original_max_position_embeddings
        w.add_rope_dimension_count(2 * len(rope["long_factor"]))
        w.add_rope_scaling_orig_ctx_len(trained)
        w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(longer) / math.log(trained)))
        for kind in ("long", "short"):
            w.add_tensor(f"rope_factors_{kind}.weight", np.array(rope[f"{kind}_factor"], np.float32))


def make_gguf(out, name, model, types, seed):
    """types: the tensor types in turn for matrices."""
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    randomize(model, seed)
    c = model.config
    arch = c.model_type.replace("_text", "").replace("_", "")
    w = gguf.GGUFWriter(folder / "model.gguf", arch)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    add_rope(w, c)
    if arch == "llama":
        w.add_tensor("rope_freqs.weight", llama3_divisors(c).astype(np.float32))
    if "moe" in arch:
        w.add_expert_count(c.num_experts)
        w.add_expert_used_count(c.num_experts_per_tok)
        w.add_expert_feed_forward_length(c.moe_intermediate_size)
        w.add_expert_shared_feed_forward_length(c.shared_expert_intermediate_size)
    turn = 0
    for key, p in model.named_parameters():
        value = p.data.numpy()
        if value.ndim == 3:
            add_experts(w, key, p, types[turn % len(types)])
        elif key.endswith(("mlp.gate.weight", "shared_expert_gate.weight")):  # routers stay float32
            w.add_tensor(gguf_name(key, arch), value if "shared" not in key else value[0])
        elif value.ndim == 2:
            kind = types[turn % len(types)]
            turn += 1
            heads = {"q_proj": c.num_attention_heads, "k_proj": c.num_key_value_heads}.get(key.split(".")[-2], 0)
            stored = permute(value, heads) if arch in PERMUTED and heads else value
            packed = gguf.quants.quantize(stored, kind)
            w.add_tensor(gguf_name(key, arch), packed, raw_dtype=kind)
            back = gguf.quants.dequantize(packed, kind)
            if arch in PERMUTED and heads:  # the inverse of permute
                back = back.reshape(heads, value.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(value.shape)
            p.data = torch.tensor(np.ascontiguousarray(back))
        else:
            heads = {"q_proj": c.num_attention_heads, "k_proj": c.num_key_value_heads}.get(key.split(".")[-2], 0)
            if arch == "gemma3" and "norm" in key:
                value = value + 1
            w.add_tensor(gguf_name(key, arch), permute(value, heads) if arch in PERMUTED and heads else value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    save_goldens(model.eval(), folder, seed)


def make_rope(out):
    cases = []
    plain = dict(rope_type="default", rope_theta=1000000.0)
    short, long = [1.0 + i / 40 for i in range(16)], [1.5 + i * i / 9 for i in range(16)]
    longrope = dict(rope_type="longrope", rope_theta=10000.0, original_max_position_embeddings=4096,
                    short_factor=short, long_factor=long)
    dynamic = dict(plain, rope_type="dynamic", factor=2.0, original_max_position_embeddings=32768)
    for head_dim, context, rope, length in [
            (64, 32768, plain, 0), (128, 32768, dict(plain, rope_theta=10000.0), 0),
            (64, 4096, dict(plain, rope_type="linear", rope_theta=10000.0, factor=2.5), 0),
            (128, 131072, dict(LLAMA3, rope_theta=500000.0, original_max_position_embeddings=8192), 0),
            (64, 131072, dict(LLAMA3, rope_theta=500000.0, factor=32.0, original_max_position_embeddings=8192), 0),
            (128, 131072, dict(plain, rope_type="yarn", factor=4.0, original_max_position_embeddings=32768), 0),
            (64, 8192, dict(plain, rope_type="yarn", factor=16.0, original_max_position_embeddings=512,
                            truncate=False, beta_fast=20.0, beta_slow=2.0), 0),
            (64, 8192, dict(plain, rope_type="yarn", factor=40.0, original_max_position_embeddings=4096, mscale=1.0,
                            mscale_all_dim=0.7), 0),
            (64, 8192, dict(plain, rope_type="yarn", factor=4.0, original_max_position_embeddings=4096,
                            attention_factor=1.25), 0),
            (128, 32768, dynamic, 20000), (128, 32768, dynamic, 50000),
            (32, 131072, dict(longrope, factor=32.0), 4096), (32, 131072, dict(longrope, factor=32.0), 4097),
            (32, 131072, dict(longrope, factor=32.0, attention_factor=1.5), 100000)]:
        c = LlamaConfig(head_dim=head_dim, max_position_embeddings=context, rope_parameters=dict(rope))
        if rope["rope_type"] == "default":
            dims = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
            freq, scale = 1.0 / (rope["rope_theta"] ** dims), 1.0
        else:
            freq, scale = ROPE_INIT_FUNCTIONS[rope["rope_type"]](c, "cpu", seq_len=length or None)
        cases.append({"head_dim": head_dim, "context": context, "length": length or context, "rope": rope,
                      "attention_scaling": scale, "inv_freq": freq.double().tolist()})
    json.dump(cases, open(out / "rope.json", "w"), indent=0)


def main():
    out, wanted = Path(sys.argv[1]), sys.argv[2:]
    for i, name in enumerate(FOLDERS):
        if not wanted or name in wanted:
            make_folder(out, name, 100 + i)
    for i, (name, (config_class, model_class, settings, types)) in enumerate(GGUFS.items()):
        if not wanted or name in wanted:
            model = model_class(config_class(**dict(GGUF_SIZES, **settings)))
            make_gguf(out, name, model, [gguf.GGMLQuantizationType[t] for t in types], 200 + i)
    if not wanted:
        make_rope(out)


if __name__ == "__main__":
    main()
