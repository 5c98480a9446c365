#!/usr/bin/env python3
"""Writes the seeds of the corpora (tests/fuzz/corpus/TARGET/seed-*) from tests/data and from what stands here. Inputs
that once broke something lie beside them under names of their own and are not touched."""
import base64
import hashlib
import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DATA, CORPUS = ROOT / "tests/data", ROOT / "tests/fuzz/corpus"


def put(target, name, data):
    path = CORPUS / target / f"seed-{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def byte_chars():
    """GPT-2's printable stand-ins for the 256 bytes."""
    plain = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    rest = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(rest)) for b in range(256)]


def gguf_string(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def gguf_value(v):
    """Type number and bytes of a metadata value."""
    if isinstance(v, bool):
        return 7, struct.pack("<?", v)
    if isinstance(v, int):
        return 4, struct.pack("<I", v)
    if isinstance(v, float):
        return 6, struct.pack("<f", v)
    if isinstance(v, str):
        return 8, gguf_string(v)
    kind = gguf_value(v[0])[0]
    return 9, struct.pack("<IQ", kind, len(v)) + b"".join(gguf_value(x)[1] for x in v)


def gguf(metadata, tensors, version=3):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        kind, data = gguf_value(value)
        out += gguf_string(key) + struct.pack("<I", kind) + data
    data = b""
    for name, kind, shape, size in tensors:
        out += gguf_string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        out += struct.pack("<IQ", kind, len(data))
        data += bytes(i * 7 % 251 for i in range(size)) + bytes(-size % 32)
    return out + bytes(-len(out) % 32) + data


def gguf_metadata(arch, pre):
    tokens = byte_chars() + ["he", "hel", "lo", "<|im_end|>", "<s>"]
    return {"general.architecture": arch, "general.name": "seed", f"{arch}.block_count": 1, f"{arch}.context_length": 64,
            f"{arch}.embedding_length": 32, f"{arch}.feed_forward_length": 32, f"{arch}.attention.head_count": 2,
            f"{arch}.attention.head_count_kv": 1, f"{arch}.attention.layer_norm_rms_epsilon": 1e-6,
            f"{arch}.rope.freq_base": 10000.0, "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre,
            "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": [1] * 259 + [3, 3],
            "tokenizer.ggml.merges": ["h e", "he l", "l o"], "tokenizer.ggml.eos_token_id": 259,
            "tokenizer.ggml.bos_token_id": 260, "tokenizer.ggml.add_bos_token": True,
            "tokenizer.chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}


def put_gguf():
    # name, ggml type, dimensions (innermost first), bytes
    types = [("f32", 0, 32, 128), ("f16", 1, 32, 64), ("bf16", 30, 32, 64), ("q4_0", 2, 32, 18), ("q4_1", 3, 32, 20),
             ("q5_0", 6, 32, 22), ("q5_1", 7, 32, 24), ("q8_0", 8, 32, 34), ("iq4_nl", 20, 32, 18), ("q2_k", 10, 256, 84),
             ("q3_k", 11, 256, 110), ("q4_k", 12, 256, 144), ("q5_k", 13, 256, 176), ("q6_k", 14, 256, 210),
             ("iq4_xs", 23, 256, 136)]
    put("gguf", "types", gguf({"general.architecture": "llama", "general.alignment": 32},
                              [(name, kind, [n, 1], size) for name, kind, n, size in types]))
    for arch, pre in [("qwen2", "qwen2"), ("llama", "llama-bpe"), ("qwen3", "qwen2"), ("llama", "smollm")]:
        put("gguf", f"{arch}-{pre}", gguf(gguf_metadata(arch, pre), [("token_embd.weight", 0, [32, 2], 256)]))
    moe = gguf_metadata("qwen2moe", "qwen2") | {"qwen2moe.expert_count": 4, "qwen2moe.expert_used_count": 2,
                                                 "qwen2moe.expert_feed_forward_length": 32}
    put("gguf", "moe", gguf(moe, [("output_norm.weight", 0, [32], 128)], version=2))
    put("gguf", "split", gguf({"general.architecture": "qwen2", "split.no": 0, "split.count": 2, "split.tensors.count": 1}, []))


def safetensors(tensors, metadata=None):
    head, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, kind, shape, size in tensors:
        head[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + size]}
        data += bytes(i % 253 for i in range(size))
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def put_safetensors():
    put("safetensors", "types", safetensors([("a", "F32", [2, 3], 24), ("b", "BF16", [4], 8), ("c", "F16", [], 2), ("d", "I64", [1], 8),
                                             ("e", "U8", [0, 7], 0), ("f", "BOOL", [3], 3), ("g", "F8_E4M3", [2, 2], 4)], {"format": "pt"}))
    put("safetensors", "one", safetensors([("model.embed_tokens.weight", "F32", [2, 2], 16)]))
    put("safetensors", "empty", safetensors([]))


def put_configs():
    for folder in sorted((DATA / "models").iterdir()):
        config = folder / "config.json"
        if config.exists():
            put("config", folder.name, json.dumps(json.loads(config.read_text()), separators=(",", ":")))
    put("config", "generation", '{"temperature":0.7,"top_p":0.8,"top_k":20,"repetition_penalty":1.05,"do_sample":true,'
                                '"eos_token_id":[151645,151643]}')
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "mscale": 0.7, "truncate": False}
    put("config", "everything", json.dumps({
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 4,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "intermediate_size": 8, "max_position_embeddings": 64,
        "rope_scaling": rope, "rope_parameters": rope, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
        "norm_topk_prob": True, "decoder_sparse_step": 2, "mlp_only_layers": [0], "use_sliding_window": True, "sliding_window": 16,
        "max_window_layers": 2, "layer_types": ["full_attention"] * 2 + ["sliding_attention"] * 2, "attention_bias": True,
        "mlp_bias": True, "tie_word_embeddings": True, "dtype": "bfloat16", "eos_token_id": 7}))


def tokenizer(pre, **more):
    vocab = {c: i for i, c in enumerate(byte_chars())} | {"he": 256, "hel": 257, "lo": 258}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"version": "1.0", "added_tokens": [{"id": 259, "content": "<|im_end|>", **flags},
                                               {"id": 260, "content": "<s>", **flags, "normalized": True, "lstrip": True, "rstrip": True},
                                               {"id": 261, "content": "a", **flags, "single_word": True, "special": False}],
            "normalizer": None, "pre_tokenizer": pre, "post_processor": None, "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "vocab": vocab, "merges": ["h e", ["he", "l"], "l o"]}} | more


def put_tokenizers():
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    split = lambda pattern: {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    chain = lambda *steps: {"type": "Sequence", "pretokenizers": [*steps, level | {"use_regex": False}]}
    qwen = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    cases = {"level": tokenizer(level), "qwen": tokenizer(chain(split({"Regex": qwen})), normalizer={"type": "NFC"}),
             "regex": tokenizer(chain(split({"Regex": r"\w+|(?<=a)b|\s+$"}))), "string": tokenizer(chain(split({"String": "o"}))),
             "digits": tokenizer(chain({"type": "Digits", "individual_digits": True}))}
    for name, t in cases.items():
        put("tokenizer", name, json.dumps(t, ensure_ascii=False, separators=(",", ":")))
    config = {"add_bos_token": True, "bos_token": "<s>", "eos_token": {"content": "<|im_end|>"}}
    text = "hello  world 123\n<|im_end|>lo e\u0301 \U0001f44b".encode() + b"\xff\xc3"
    put("tokenizer", "config", json.dumps({"tokenizer": cases["level"], "config": config}, ensure_ascii=False, separators=(",", ":")).encode()
        + b"\0" + text)


def put_templates():
    cases = json.loads((DATA / "text/templates/small.json").read_text())
    found = []

    def walk(x):
        if isinstance(x, dict):
            for key, value in x.items():
                if key in ("template", "source") and isinstance(value, str):
                    found.append(value)
                walk(value)
        elif isinstance(x, list):
            for value in x:
                walk(value)
    walk(cases)
    found = sorted(set(found))
    for i in range(0, len(found), 6):
        put("template", f"small-{i // 6:02d}", "\n".join(found[i:i + 6]))
    put("template", "chat", "{%- for m in messages %}{%- if loop.first and m['role'] != 'system' %}x{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ m.content | trim }}{% if m.tool_calls is defined and m.tool_calls %}"
        "{% for c in m.tool_calls %}{{ c.function | tojson(indent=2) }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
        "{%- macro f(a, b=1) -%}{{ a ~ b }}{%- endmacro %}{{ f('q') }}{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 1 %}"
        "{{ messages[1:][::-1] | length }}{{ ('a,b'.split(',') | join('-')) if tools else raise_exception('no') }}")


def put_keyfile():
    entry = {"name": "alice", "sha256": "0123456789abcdef" * 4, "created": "2026-01-01T00:00:00Z"}
    put("keyfile", "usual", json.dumps({"keys": [entry, {**entry, "name": "b.c-d_e", "models": ["x", "y"], "requests_per_minute": 60,
                                                         "tokens_per_minute": 1000000000000, "concurrent": 1}]}))
    put("keyfile", "twice", json.dumps({"keys": [entry, entry]}))
    put("keyfile", "wrong", json.dumps({"keys": [{**entry, "models": [], "concurrent": 0, "more": None}, 7]}))


def put_imports():
    chat, message = "c_" + "a" * 26, lambda c: "m_" + c * 26
    ours = {"sampan": 1, "chat": {"id": chat, "title": "t", "folder": "f", "pinned": True, "params": {"top_p": 0.5}, "head": message("b"),
                                  "created": 1700000000.25, "updated": 1700000001, "system": "s", "model": "m"},
            "messages": [{"id": message("a"), "parent": None, "role": "user", "content": "a \u957f\u6c5f", "state": "complete", "created": 1700000000},
                         {"id": message("b"), "parent": message("a"), "role": "assistant", "content": "b", "state": "streaming", "usage": {"x": 1}}]}
    put("import", "ours", json.dumps(ours) + "\n" + json.dumps({**ours, "chat": {**ours["chat"], "id": "c_" + "b" * 26}}) + "\nno json\n{}\n")
    says = lambda role, text, parent, **more: {"parent": parent, "message": {"author": {"role": role}, "create_time": 1700000001.5, **more,
                                                                            "content": {"content_type": "text", "parts": [text, {"asset": 1}]}}}
    put("import", "openai", json.dumps([{"title": "t", "conversation_id": "1", "current_node": "c", "create_time": 1700000000, "mapping": {
        "c": says("assistant", "b", "b", metadata={"model_slug": "gpt"}), "b": says("tool", "x", "a"), "a": says("user", "a", "r"),
        "r": {"message": None, "parent": None}}}, {"id": "2", "mapping": {"a": says("user", "a", "b"), "b": says("user", "b", "a")}}]))
    put("import", "open-webui", json.dumps([{"id": "1", "title": "t", "created_at": 1700000000, "chat": {"history": {"currentId": "2", "messages": {
        "2": {"id": "2", "parentId": "1", "role": "assistant", "content": "b", "model": "m", "timestamp": 1700000002},
        "1": {"id": "1", "parentId": None, "role": "user", "content": "a"}}}}}]))


def put_docx():
    w = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    p = lambda text, more="": f"<w:p>{more}<w:r><w:t>{text}</w:t></w:r></w:p>"
    item = '<w:pPr><w:pStyle w:val="1"/><w:numPr><w:ilvl w:val="1"/><w:numId w:val="3"/></w:numPr></w:pPr>'
    cell = lambda inside: f'<w:tc><w:tcPr><w:gridSpan w:val="2"/></w:tcPr>{inside}</w:tc>'
    river = "\u957f\u6c5f"
    table = f"<w:tbl><w:tr>{cell(p('a|b'))}{cell(p('c') + '<w:tbl><w:tr>' + cell(p('d')) + '</w:tr></w:tbl>')}</w:tr></w:tbl>"
    body = (f'<w:document {w}><w:body>{p(river, item)}{table}<w:p><w:r><w:tab/><w:br/><w:footnoteReference w:id="2"/></w:r></w:p>'
            f"<mc:Fallback>{p('x')}</mc:Fallback></w:body></w:document>")
    styles = f'<w:styles {w}><w:style w:styleId="1"><w:name w:val="heading 2"/><w:pPr><w:outlineLvl w:val="3"/></w:pPr></w:style></w:styles>'
    lists = (f'<w:numbering {w}><w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="1"><w:numFmt w:val="decimal"/></w:lvl></w:abstractNum>'
             '<w:num w:numId="3"><w:abstractNumId w:val="0"/></w:num></w:numbering>')
    notes = f'<w:footnotes {w}><w:footnote w:id="2">{p("note")}</w:footnote></w:footnotes>'
    for number, xml in enumerate((body, styles, lists, notes), 1):
        put("docx", f"part-{number}", bytes([number]) + xml.encode())
    put("docx", "entities", b"\1<!DOCTYPE a [<!ENTITY b 'cc'><!ENTITY d '&b;&b;'>]><a>&d;</a>")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in (("word/document.xml", body), ("word/styles.xml", styles), ("word/footnotes.xml", notes), ("../../x", "y")):
            z.writestr(zipfile.ZipInfo(name), data)
    put("docx", "zip", b"\0" + out.getvalue())
    put("docx", "cut", b"\0" + out.getvalue()[:-30])


def put_yaml():
    put("yaml", "usual", "port: 8080\nhost: 127.0.0.1\napi-key:\n  - a\n  - 'b c'\nmax-context: 4096\ncompute: fast\nnext-port: true\n")
    put("yaml", "odd", "---\n# nothing\nmodel: \"a\\u00e9\\n\"\nkv-bytes: 1.5GB\nthreads: |\n  2\n...\n")
    put("yaml", "wrong", "port: [1, 2]\n? a\n: b\n&x c: *x\n!!str d: ~\n")


def put_requests():
    user = {"role": "user", "content": "hi"}
    chat, text, tokenize, detokenize = b"\0", b"\1", b"\2", b"\3"
    cases = {
        "chat": (chat, {"model": "tiny", "messages": [user], "max_tokens": 2}),
        "chat-all": (chat, {"model": "tiny", "messages": [{"role": "system", "content": [{"type": "text", "text": "a"}]}, user],
                            "temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "seed": 7, "n": 2, "stop": ["x", "y"],
                            "stream": True, "stream_options": {"include_usage": True}, "logprobs": True, "top_logprobs": 2,
                            "logit_bias": {"65": -100}, "presence_penalty": 1, "frequency_penalty": -1, "repetition_penalty": 1.1,
                            "max_completion_tokens": 3, "ignore_eos": True, "add_generation_prompt": False,
                            "chat_template_kwargs": {"x": [1]}, "response_format": {"type": "text"}, "user": "u"}),
        "tools": (chat, {"model": "tiny", "messages": [user], "tools": [], "tool_choice": None}),
        "text": (text, {"model": "tiny", "prompt": "abc", "max_tokens": 2, "echo": True, "logprobs": 1}),
        "ids": (text, {"model": "tiny", "prompt": [[1, 2], [3]], "max_tokens": 0, "echo": True, "logprobs": 2, "n": 1, "best_of": 1}),
        "tokenize": (tokenize, {"prompt": "a\u00e9\ud83d\udc4b", "add_special_tokens": True}),
        "content": (tokenize, {"content": "<|im_end|>", "add_special": False, "parse_special": True}),
        "messages": (tokenize, {"messages": [user], "add_generation_prompt": True, "tools": []}),
        "detokenize": (detokenize, {"tokens": [97, 98, 257]})}
    for name, (first, body) in cases.items():
        put("request", name, first + json.dumps(body).encode())
    put("request", "surrogates", chat + b'{"model":"tiny","messages":[{"role":"user","content":"\\ud800"}]}')
    put("request", "deep", chat + b'{"model":"tiny","messages":' + b"[" * 300 + b"]" * 300 + b"}")


def put_jobs():
    user = {"role": "user", "content": "hi"}
    template = {"name": "t", "prompt": "{{a}}", "system": "s", "language": "English", "length": "short", "mode": "merge",
                "fields": [{"name": "a", "type": "long"}, {"name": "c", "type": "choice", "choices": ["x", "y"], "default": "x"}],
                "examples": [{"values": {"a": "1"}, "output": "2"}], "params": {"temperature": 0}}
    bodies = {
        "translate": {"text": "One.\n\nTwo.", "language": "Chinese", "from": "English", "instructions": "short"},
        "summary": {"text": "One.", "length": "long", "params": {"top_p": 0.5}}, "answer": {"text": "One.", "question": "Which?"},
        "template": {"template": template, "values": {"a": "text", "c": "y"}},
        "batch": {"text": "a\nb", "name": "x.txt", "system": "s", "params": {"max_tokens": 2}}}
    for kind, params in bodies.items():
        put("job", kind, b"\0\0" + json.dumps({"kind": kind, "params": params}).encode())
    body = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": [user], "n": 1}}
    lines = [{"prompt": "p", "system": "s", "custom_id": "c"}, {"messages": [user], "params": {"seed": 1}}, body]
    put("job", "jsonl", b"\2\0" + "\r\n".join(json.dumps(line) for line in lines).encode())
    put("job", "csv", b"\2\1\xef\xbb\xbfprompt,custom_id\r\n\"a, \"\"b\"\"\nc\",1\r\n\r\nd,2")
    put("job", "csv-open", b'\2\1prompt\n"a')
    put("job", "txt", b"\2\2a\n\nb\r\n")
    put("job", "fields", b'\3\0{"a": "x", "b": 1}\n{"b": "2"}')
    put("job", "fields-csv", b"\3\1a,b\nx,1\ny,z\n")
    text = "One. Two, three; e.g. four.\n\n长江很长。“是的！”\n" + "x" * 40 + "\n \n　end"
    for most in (1, 9, 20, 21, 255):
        put("job", f"cut-{most}", bytes([1, most]) + text.encode())
    put("job", "cut-bytes", b"\1\7\xff\x80. \xe4\xbd \0")


def put_http():
    host, body = b"Host: x\r\n", b'{"prompt":"hello"}'
    head = b"POST /tokenize HTTP/1.1\r\n" + host
    length = b"Content-Length: %d\r\n" % len(body)
    chat = b'{"model":"tiny","messages":[{"role":"user","content":"hi"}],"max_tokens":2,"stream":true}'
    chunked = b"Transfer-Encoding: chunked\r\n"
    chunks = b"5;a=\"b\"\r\n" + body[:5] + b"\r\nd\r\n" + body[5:] + b"\r\n0\r\nA: b\r\n\r\n"
    cases = {
        "get": b"GET /health HTTP/1.1\r\n" + host + b"\r\n", "old": b"GET /v1/models HTTP/1.0\r\n\r\n",
        "head": b"HEAD / HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n",
        "absolute": b"GET http://x/v1/models/tiny?a=b HTTP/1.1\r\n" + host + b"\r\n",
        "pipeline": (b"\r\nGET /health HTTP/1.1\r\n" + host + b"\r\n") * 3, "length": head + length + b"\r\n" + body,
        "chunked": head + chunked + b"\r\n" + chunks + b"GET /livez HTTP/1.1\r\n" + host + b"\r\n",
        "stream": b"POST /v1/chat/completions HTTP/1.1\r\n" + host + b"Content-Length: %d\r\n\r\n" % len(chat) + chat,
        "both": head + length + chunked + b"\r\n0\r\n\r\nGET /x HTTP/1.1\r\n" + host + b"\r\n",
        "two-lengths": head + length + b"Content-Length: 1\r\n\r\n" + body, "fold": head + b"A: b\r\n c\r\n" + length + b"\r\n" + body,
        "space": head + b"Content-Length : 5\r\n\r\n" + body, "bare-lf": b"GET / HTTP/1.1\nHost: x\n\n",
        "xchunked": head + b"Transfer-Encoding: xchunked\r\n\r\n" + chunks, "plus": head + b"Content-Length: +5\r\n\r\n" + body,
        "expect": head + b"Expect: 100-continue\r\n" + length + b"\r\n" + body, "bad-chunk": head + chunked + b"\r\n5\r\nabcdefgh\r\n",
        "authority": b"GET //a:99999999/ HTTP/1.1\r\n" + host + b"\r\n", "percent": b"GET /v1/models/%00%ff%zz HTTP/1.1\r\n" + host + b"\r\n"}
    for name, data in cases.items():
        put("http", name, b"\0" + data)
        put("framing", name, data)
    put("http", "bytes", b"\1GET / HTTP/1.1\r\n" + host + b"\r\n")
    put("framing", "chunk", b"1aF;x=y\r\n")
    put("framing", "trailer", b"A: b\r\nC: d\r\n\r\n")


def put_response():
    ok, stream = b"HTTP/1.1 200 OK\r\n", b"Content-Type: text/event-stream; charset=utf-8\r\n"
    events = b'\xef\xbb\xbfdata: {"choices": [{"text": "a"}]}\n\n: ping\r\n\r\nevent: error\rdata: b\rdata\r\rdata:c\n\ndata: [DONE]\n\n'
    chunks = b"".join(b"%x;a=b\r\n%s\r\n" % (len(p), p) for p in (events[:7], events[7:40], events[40:]))
    cases = {
        "length": ok + stream + b"Content-Length: %d\r\n\r\n" % len(events) + events, "close": ok + stream + b"\r\n" + events,
        "chunked": ok + stream + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nA: b\r\n\r\nHTTP/1.1",
        "continue": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Busy\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}",
        "old": b"HTTP/1.0 500 Oops\r\nConnection: keep-alive, x\r\nContent-Length: 0\r\n\r\n", "none": b"HTTP/1.1 204\r\n\r\n",
        "bare-lf": b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n", "tls": b"\x15\x03\x03\x00\x02\x02\x46",
        "bad-chunk": ok + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n"}
    for name, data in cases.items():
        put("response", name, data)


def put_store():
    put("store", "file", json.dumps({"name": "m", "source": "hf:a/b", "license": "MIT", "bytes": 9, "pulled": 1, "file": "x.gguf",
                                     "files": {"x.gguf": {"bytes": 9, "sha256": "ab" * 32}}}))
    put("store", "folder", '{"name":"m","source":null,"bytes":-1,"files":{}}')


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    """A field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def put_pieces():
    ranks = b"".join(base64.b64encode(bytes([b])) + b" %d\n" % b for b in range(256)) + b"aGU= 256\naGVs 257\nbG8= 258\n"
    put("tiktoken", "qwen", b"\0" + ranks)
    put("tiktoken", "llama3", b"\1" + ranks)
    put("tiktoken", "short", b"\0YQ== 0\nYg== 1\n")
    pieces = [(b"<unk>", 0.0, 2), (b"<s>", 0.0, 3), (b"</s>", 0.0, 3)] + [(b"<0x%02X>" % b, 0.0, 6) for b in range(256)]
    pieces += [(c, -float(i), 1) for i, c in enumerate(["\u2581h", "he", "l", "o", "lo", "\u2581", "h", "e", "\u4f60"])]
    model = b"".join(field(1, field(1, p if isinstance(p, bytes) else p.encode()) + field(2, score) + field(3, kind))
                     for p, score, kind in pieces)
    trainer = field(2, field(3, 2) + field(35, 1) + field(40, 0) + field(41, 1) + field(42, 2) + field(43, 2**64 - 1))
    put("sentencepiece", "bpe", model + trainer + field(3, field(1, b"identity") + field(3, 1) + field(4, 0) + field(5, 1)))
    put("sentencepiece", "no-prefix", model + trainer + field(3, field(1, b"identity") + field(3, 0)))
    put("sentencepiece", "small", (DATA / "text/tiny.model").read_bytes()[:3000])


def put_hub():
    files = ["config.json", "tokenizer.json", "generation_config.json", "model-00001-of-00002.safetensors",
             "model-00002-of-00002.safetensors", "model.safetensors.index.json", "README.md", "x-q4_k_m.gguf", "x-q8_0.gguf",
             "a/b-Q4_K_M-00001-of-00002.gguf", "a/b-Q4_K_M-00002-of-00002.gguf", "../evil", "/etc/passwd", "model.gguf"]
    hf = {"sha": "ab" * 20, "siblings": [{"rfilename": f, "size": 9, "blobId": "cd" * 20, "lfs": {"sha256": "ef" * 32, "size": 9}} for f in files]}
    ms = {"Code": 200, "Message": "", "Data": {"Files": [{"Path": f, "Size": 9, "Sha256": "ef" * 32, "Type": "blob"} for f in files],
                                               "LatestCommitter": {"Id": "ab" * 20, "ShortId": "abab"}}}
    for i in range(4):
        put("listing", f"hf-{i}", bytes([2 * i]) + json.dumps(hf).encode())
        put("listing", f"ms-{i}", bytes([2 * i + 1]) + json.dumps(ms).encode())
    hf["siblings"] = hf["siblings"][7:10]
    put("listing", "hf-gguf", b"\0" + json.dumps(hf).encode())


def put_bundle():
    model = b"GGUF" + bytes(20)
    manifest = {"format": "sampan-bundle", "version": 1, "name": "m", "source": "hf:a/b", "revision": None, "commit": None, "license": "MIT",
                "files": [{"name": "x.gguf", "bytes": len(model), "sha256": hashlib.sha256(model).hexdigest()}]}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in [("sampan-bundle.json", json.dumps(manifest).encode()), ("m/x.gguf", model)]:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    put("bundle", "one", out.getvalue()[:3072])


def main():
    put_gguf()
    put_safetensors()
    put_configs()
    put_tokenizers()
    put_templates()
    put_keyfile()
    put_imports()
    put_docx()
    put_yaml()
    put_requests()
    put_jobs()
    put_http()
    put_store()
    put_response()
    put_pieces()
    put_hub()
    put_bundle()


if __name__ == "__main__":
    main()
