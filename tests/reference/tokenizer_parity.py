#!/usr/bin/env python3
"""Compares Sampan's ids and decoded text with Hugging Face tokenizers' on several MB of mixed text.

    python3 tests/reference/tokenizer_parity.py TOKENIZE_FILE MODEL...

TOKENIZE_FILE: the built program of that name. MODEL: a tokenizer.json; a GGUF file of model gpt2, from
whose vocabulary, merges and pre-tokenizer name the Hugging Face tokenizer is then built, or of model
llama, for which SentencePiece gets its pieces; a SentencePiece .model; Qwen's .tiktoken or Llama 3's
.model of tiktoken ranks. GGUF=TOKENIZER.JSON compares a GGUF file with another reference. Needs the Python package tokenizers, and gguf, sentencepiece or tiktoken for
those. The corpus is made by this script, the same each time on one installation:
Python's own sources, generated Chinese and English, emoji, every code point, combining marks, white
space, digits of all scripts, added tokens whole and broken, bytes that are no UTF-8. Each model is
compared with added tokens read as such and with all text ordinary. Exit 1 when anything differs.
"""
import base64
import json
import random
import struct
import subprocess
import sys
import sysconfig
import tempfile
import unicodedata
from pathlib import Path

import tokenizers
from tokenizers import Tokenizer

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|")
O200K = CASED + r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK3 = (r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
             "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
             " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")

CHINESE = """
今天天气很好，我们一起去公园散步吧。人工智能正在改变世界，大语言模型可以写诗、写代码、回答问题。
请用三句话介绍一下长城的历史。《红楼梦》是中国古典四大名著之一，作者是曹雪芹。
北京时间2024年3月15日上午10点30分，会议在上海国际会议中心举行，共有1,234人参加。
他说：“学而时习之，不亦说乎？”老师笑了笑——没有回答……这个函数的时间复杂度是O(n log n)。
机器学习（ML）的基本流程：①收集数据；②清洗；③训练模型；④评估。价格是￥99.9元，打八折！
繁體中文測試：臺灣、香港與澳門的讀者您好。日本語のテスト：東京は今日も晴れです。한국어 시험입니다.
""".strip().split("\n")
ENGLISH = """
The quick brown fox jumps over the lazy dog. It's what they've said, isn't it? We'll see; I'd bet YOU'RE RIGHT.
She'S GOT 12 apples, 3.14159 pies and $1,000,000.00 -- don't ask 'why'... 'tis the season, o'clock, rock'n'roll
Dear Sir/Madam,\r\n\r\nI am writing to you (as of 2024-03-15T10:30:00Z) about invoice #00123-A/7.\r\n\tBest,\r\n
naïve café résumé Übergröße straße ŒUVRE ﬁne ﬂow ﬀ İstanbul ıssız ǅ Ǆ ΑΒΓ ἀρχή Привет, мир! שלום עולם مرحبا بالعالم
हिन्दी में परीक्षण, தமிழ் சோதனை, ภาษาไทยไม่มีช่องว่าง, ქართული, Հայերեն, አማርኛ, ខ្មែរ, မြန်မာ, বাংলা, తెలుగు
""".strip().split("\n")
CODE = """
#include <stdio.h>\n\nint main(void)\n{\n    for (int i = 0; i < 100; ++i)\n\t\tprintf("%d\\n", i * 0x1F);\n    return 0;\n}\n
fn main() -> Result<(), Box<dyn Error>> {\n    let v: Vec<u64> = (0..1_000).map(|x| x * x).collect();\n    println!("{v:?}");\n}\n
const f = async (x) => { await fetch(`https://a.b/c?d=${x}&e=%20`); }; // 注释\n/** @type {Map<string, number[]>} */\n
SELECT a.id, COUNT(*) AS n FROM t_a a LEFT JOIN "b" ON a.id=b.id WHERE x LIKE '%\\_%' GROUP BY 1 HAVING n>=10;\n
<div class="x y" data-z='{"k":[1,2,3]}'>&nbsp;&#x4e2d;</div>\n<!-- <|not a token|> -->\n
def f(self, *args, **kwargs):\n    '''doc'''\n    return [x for x in args if x is not None][::-1] or {**kwargs}\n\n\n
""".strip().split("\n\n")
EMOJI = ["👨‍👩‍👧‍👦", "👩🏽‍💻", "🏳️‍🌈", "🇨🇳", "🇺🇸🇩🇪", "1️⃣", "#️⃣", "❤️‍🔥", "😀", "🤖", "🧑🏿‍🚀", "☺", "☺️", "✈", "🫠", "🪿", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "♾️", "㊗️", "©️"]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u3000", "\u2003", "\u2028", "\u0085", "\u000b", "\u000c", "\u200b",
          "\u202f", "\u1680", "\ufeff", "\u180e", "\x1c", "\x00"]


def choose(r, make, n):
    return "".join(make(r) for _ in range(n))


def any_code_point(r, top=0x110000):
    while True:
        c = r.randrange(top)
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def source_documents():
    """Python's standard library in slices, and its longest texts of documentation."""
    root = Path(sysconfig.get_paths()["stdlib"])
    names = sorted(p for p in root.glob("*.py")) + sorted((root / "pydoc_data").glob("*.py"))
    total = 0
    for path in names:
        text = path.read_bytes()
        for i in range(0, len(text), 3000):
            yield text[i:i + 3000].decode("utf-8", "ignore")
        total += len(text)
        if total > 2_000_000:
            return


def all_code_points():
    for c in range(0, 0x110000, 512):
        chars = [chr(x) for x in range(c, c + 512) if not 0xD800 <= x < 0xE000]
        if chars:
            yield "".join(chars)
            # one by one between letters, digits, spaces and marks
            if c < 0x20000 or c == 0xE0000:
                yield "".join(f"a{x}1 {x} '{x}\u0301{x}\n" for x in chars)


def generated(r, added):
    classes = {}
    for c in range(0x110000):
        if not 0xD800 <= c < 0xE000:
            classes.setdefault(unicodedata.category(chr(c)), []).append(chr(c))
    marks = classes["Mn"] + classes["Mc"]
    digits = classes["Nd"] + classes["Nl"] + classes["No"]
    letters = [chr(c) for c in range(0x4E00, 0xA000)] + classes["Ll"][:300]
    composed = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and unicodedata.decomposition(chr(c))]
    jamo = [chr(c) for c in range(0x1100, 0x1200)] + [chr(c) for c in range(0xAC00, 0xAC80)]
    pool = CHINESE + ENGLISH + CODE
    broken = [t[:-1] for t in added] + [t[1:] for t in added] + ["<|", "|>", "<", "</", "<|im_"]
    makers = [
        lambda r: r.choice(pool),
        lambda r: "".join(r.choices(letters, k=r.randrange(1, 12))),
        lambda r: r.choice(EMOJI),
        lambda r: any_code_point(r),
        lambda r: any_code_point(r, 0x3000),
        lambda r: any_code_point(r, 0x20000),
        lambda r: r.choice("aeiouAnc가ᄀ\u0915") + "".join(r.choices(marks, k=r.randrange(1, 8))),
        lambda r: r.choice(composed) + r.choice(marks + [""]),
        lambda r: "".join(r.choices(jamo, k=r.randrange(1, 5))),
        lambda r: "".join(r.choices(SPACES, k=r.randrange(1, 6))),
        lambda r: r.choice(SPACES[:5]) * r.randrange(1, 40),
        lambda r: "".join(r.choices(digits, k=r.randrange(1, 9))),
        lambda r: "".join(r.choices("0123456789", k=r.randrange(1, 9))),
        lambda r: r.choice(["'s", "'S", "'\u017f", "'re", "'RE", "'lL", "'Ve", "'d", "'m", "'T", "''s", " 'll", "'l", "'r"]),
        lambda r: "".join(r.choices("!\"#$%&()*+,-./:;<=>?@[]^_`{|}~", k=r.randrange(1, 6))),
        lambda r: r.choice(added) if added else "",
        lambda r: r.choice(broken),
        lambda r: "".join(r.choices("abcdefghijklmnopqrstuvwxyzABC_ ", k=r.randrange(1, 20))),
    ]
    for i in range(5000):
        if i % 2:
            yield choose(r, r.choice(makers), r.randrange(1, 30))
        else:
            yield choose(r, lambda r: r.choice(makers)(r), r.randrange(1, 60))
    for unit in ("a", "ab", " ", "\n", "的", "\u0301\u0327", "é", "1", "!", "'s", "e\u0301"):
        yield unit * (20000 // len(unit))
    yield "".join(r.choices("abcdefghijklmnopqrstuvwxyz", k=30000))
    yield "".join(r.choices(letters, k=10000))


def invalid_utf8(r):
    whole = "中文 text é 😀".encode()
    for _ in range(300):
        b = bytearray(whole * 3)
        for _ in range(r.randrange(1, 6)):
            b[r.randrange(len(b))] = r.randrange(256)
        yield bytes(b)
        yield r.randbytes(r.randrange(1, 60))


def corpus(added):
    r = random.Random(20240315)
    texts = list(CHINESE + ENGLISH + CODE) + ["", " ", "\n", "a", "\u00e9", "e\u0301"] + sorted(added)
    texts += list(source_documents()) + list(all_code_points()) + list(generated(r, sorted(added)))
    return [t.encode() for t in texts] + list(invalid_utf8(r))


def gguf_tokenizer(path):
    """tokenizer.json, as an object, with the pipeline that the file's pre-tokenizer stands for."""
    from gguf import GGUFReader
    fields = GGUFReader(path).fields
    value = {k: f.contents() for k, f in fields.items() if k.startswith("tokenizer.ggml.")}
    tokens, types = value["tokenizer.ggml.tokens"], value["tokenizer.ggml.token_type"]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    pre = value["tokenizer.ggml.pre"]
    if pre == "smollm":
        steps, norm = [{"type": "Digits", "individual_digits": True}, {**level, "use_regex": True}], None
    else:
        pattern = {"qwen2": QWEN2, "llama-bpe": LLAMA3}[pre]
        steps = [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}, level]
        norm = {"type": "NFC"} if pre == "qwen2" else None
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": k == 3} for i, (t, k) in enumerate(zip(tokens, types)) if k in (3, 4)]
    # Control tokens before the ordinary ones are part of the model's vocabulary (SmolLM2).
    last = max(i for i, k in enumerate(types) if k == 1)
    vocab = {t: i for i, (t, k) in enumerate(zip(tokens, types)) if i <= last}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": norm,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}, "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                      "ignore_merges": pre == "llama-bpe", "vocab": vocab,
                      "merges": value["tokenizer.ggml.merges"]}}


def byte_alphabet():
    """GPT-2's character for each byte."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in shown]
    return {**{b: chr(b) for b in shown}, **{b: chr(256 + i) for i, b in enumerate(hidden)}}


def read_results(path, n):
    data, at = Path(path).read_bytes(), 0
    for _ in range(n):
        count, = struct.unpack_from("<I", data, at)
        ids = list(struct.unpack_from(f"<{count}i", data, at + 4))
        at += 4 + 4 * count
        size, = struct.unpack_from("<I", data, at)
        yield ids, data[at + 4:at + 4 + size].decode()
        at += 4 + size


class HuggingFace:
    modes = ("all", "none")
    specials = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "<|eot_id|>"]

    def __init__(self, definition, mode):
        if mode == "none":
            definition = {**definition, "added_tokens": []}
        self.tokenizer = Tokenizer.from_str(json.dumps(definition))
        self.added = [a["content"] for a in definition["added_tokens"]] or self.specials

    def encode(self, texts):
        return [e.ids for e in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids):
        return self.tokenizer.decode(ids, skip_special_tokens=False)


def scored_model(path):
    """SentencePiece's model, with the pieces, scores and types of a GGUF file of model llama."""
    from gguf import GGUFReader
    from sentencepiece import sentencepiece_model_pb2
    fields = {k: f.contents() for k, f in GGUFReader(path).fields.items() if k.startswith("tokenizer.ggml.")}
    model = sentencepiece_model_pb2.ModelProto()
    for piece, score, kind in zip(*(fields[f"tokenizer.ggml.{k}"] for k in ("tokens", "scores", "token_type"))):
        model.pieces.add(piece=piece, score=score, type=kind)
    model.trainer_spec.model_type = 2
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.add_dummy_prefix = fields.get("tokenizer.ggml.add_space_prefix", True)
    return model.SerializeToString()


def gguf_model(path):
    from gguf import GGUFReader
    return GGUFReader(path).fields["tokenizer.ggml.model"].contents()


class SentencePiece:
    """Ordinary text only: the library itself reads no control tokens."""
    modes = ("none",)

    def __init__(self, path, mode):
        import sentencepiece
        proto = scored_model(path) if path.endswith(".gguf") else Path(path).read_bytes()
        self.model = sentencepiece.SentencePieceProcessor(model_proto=proto)
        self.added = ["<s>", "</s>", "<0x0A>", "[INST]"]

    def encode(self, texts):
        return [self.model.encode(t) for t in texts]

    def decode(self, ids):
        return self.model.decode(ids)


class Tiktoken:
    modes = ("all", "none")

    def __init__(self, path, mode):
        import tiktoken
        lines = Path(path).read_bytes().splitlines()
        ranks = {base64.b64decode(t): int(r) for t, r in (line.split() for line in lines)}
        if path.endswith(".tiktoken"):
            self.nfc, pattern = True, QWEN2
            names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [f"<|extra_{i}|>" for i in range(205)]
        else:
            self.nfc, pattern = False, LLAMA3
            names = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>",
                     "<|reserved_special_token_1|>", "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>",
                     "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", "<|image|>"]
            names += [f"<|reserved_special_token_{i}|>" for i in range(2, 246)]
        self.encoding = tiktoken.Encoding("it", pat_str=pattern, mergeable_ranks=ranks, special_tokens={
            name: len(ranks) + i for i, name in enumerate(names)})
        self.special = set(names) if mode == "all" else set()
        self.added = names

    def encode(self, texts):
        if self.nfc:  # as tokenizers does it; Python's NFC changes with its version of Unicode
            texts = [tokenizers.normalizers.NFC().normalize_str(t) for t in texts]
        return self.encoding.encode_batch(texts, num_threads=1, allowed_special=self.special, disallowed_special=())

    def decode(self, ids):
        return self.encoding.decode(ids)


def reference_of(model, mode=None):
    """The reference's class, or with a mode what it makes of the model."""
    model, _, other = model.partition("=")
    kind, source = HuggingFace, other or model
    if source.endswith(".gguf") and gguf_model(source) == "llama":
        kind = SentencePiece
    elif not source.endswith((".json", ".gguf")):
        kind = SentencePiece if Path(source).read_bytes()[:1] == b"\n" else Tiktoken
    elif mode:
        source = gguf_tokenizer(source) if source.endswith(".gguf") else json.loads(Path(source).read_text())
    return kind(source, mode) if mode else kind


def compare(program, model, mode, every=1):
    """Prints how many documents differ and returns it; every: only each such document is taken."""
    reference = reference_of(model, mode)
    model, added = model.partition("=")[0], reference.added
    documents = corpus(added)[::every]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").write_bytes(b"".join(struct.pack("<I", len(d)) + d for d in documents))
        subprocess.run([program, model, mode, f"{folder}/in", f"{folder}/out"], check=True)
        results = list(read_results(f"{folder}/out", len(documents)))
    texts = [d.decode("utf-8", "replace") for d in documents]
    expected = reference.encode(texts)
    wrong = ids_total = 0
    for text, (ids, decoded), e in zip(texts, results, expected):
        ids_total += len(ids)
        if ids == e and decoded == reference.decode(ids):
            continue
        wrong += 1
        if wrong <= 5:
            at = next((i for i, (a, b) in enumerate(zip(ids + [-1], e + [-1])) if a != b), -1)
            print(f"  differs at token {at}: ours {ids[at:at + 6]} theirs {e[at:at + 6]}\n  in {text[:200]!r}")
    size = sum(map(len, documents))
    print(f"{Path(model).name} {mode}: {len(documents)} documents, {size / 1e6:.2f} MB, {ids_total} tokens, "
          f"{wrong} mismatches", flush=True)
    return wrong


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    print("tokenizers", tokenizers.__version__)
    wrong = 0
    for model in sys.argv[2:]:
        for mode in reference_of(model).modes:
            wrong += compare(sys.argv[1], model, mode)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
