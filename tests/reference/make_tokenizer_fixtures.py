#!/usr/bin/env python3
"""Makes tests/data/text/: tiny tokenizers of each pipeline and the ids that Hugging Face's give.

    python3 tests/reference/make_tokenizer_fixtures.py [QWEN.gguf [SMOLLM2.gguf]]

strings.json holds the strings; tiny_*.json are tokenizer.json files with some 600 tokens; golden_*.json
the ids of each string with added tokens ("all"), with all text ordinary ("none"), with the
post-processor ("bos"), and the decoded texts of "all", with special tokens and without. tiny.model and
golden_tiny_spm.json come from SentencePiece, tiny_spm.gguf holds the same vocabulary; tiny.tiktoken and
golden_tiny_tiktoken.json are checked by tiktoken. With GGUF files, golden_qwen2.json and
golden_smollm2.json hold "all" and "none" for the real vocabularies. Needs the Python packages tokenizers,
gguf, sentencepiece and tiktoken.
"""
import base64
import io
import json
import random
import sys
from pathlib import Path

import gguf
import sentencepiece

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

sys.path.insert(0, str(Path(__file__).parent))
import tokenizer_parity as parity

OUT = Path(__file__).parent.parent / "data" / "text"
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|"
         r"\s*[\r\n]+|\s+(?!\S)|\s+")
TRAINING = parity.CHINESE * 3 + parity.ENGLISH * 3 + parity.CODE * 3 + parity.EMOJI
HAND = [
    "", " ", "  ", "\n", "\r\n", " \n ", "\t\t\n\n  x", "a", "ab", "Hello, world!", " leading", "trailing ", "two  spaces",
    "three   spaces\n\n\nlines\r\n\r\nend", "I'm you're WE'LL he'S it'\u017f x'D don''t '", "'s", "''ll", " 's", "\n's",
    "2024-03-15 10:30", "1234567 12 1 1234", "٣٤٥ १२३ ⅷ ² ½ 𝟙𝟚 一二三", "x1y22z333", "a\u0301 e\u0301\u0323 \u1112\u1161\u11ab",
    "\u0344 \u2126 \u212b \u0958 \u0f73\u0f71", "A\u030a\u0327 q\u0307\u0323", "\u0315\u0300\u05ae\u0301\u0062", "가\u11a8 각",
    "<|im_start|>user\nHi<|im_end|>\n", "<|im_end|><|im_end|>", "<|im_end|", "|im_end|>", "<<|im_end|>>", "a<|im_end|>b c",
    "<tool_call>\n{\"name\": \"f\"}\n</tool_call>", "<tool_call", "<|endoftext|>", "<|im_start|><|im_start", "<|<|im_end|>",
    "x <mask> y", "x \n\t<mask>", "<mask><mask>  <mask>", "a<right>  \n b", "<right> <right>", "password word words word", "word",
    "_word word_ 'word'", "\u1112\u1161\u11ab! \ud55c! \ud558\u11ab! \u1112\u1161!", "Cafe\u0301\u0323", "<tool> <too <tool>l", "a-b--c", "x---y  z", "<right>   <mask>",
    "word<mask>word", "\u00a0\u3000\u2003x", "\u200b\u200d\ufeff", "\x00\x01\x7f", "\U000E0041\U000F0000\U0010FFFF",
    "\u0e33\u0eb3", "ǅ ǆ ß ẞ ſ ﬁ", "👨‍👩‍👧‍👦👩🏽‍💻🇨🇳1️⃣", "\U00016FF4\U00011DE0\U0001E5F1", "\U000105D2\u0307 \u0061\U0001E6E3\u0301",
    "a" * 60, "的" * 30, " " * 45 + "x", "ab" * 40, "!" * 50, "\n" * 50, "e\u0301" * 30, "\u0301\u0327" * 24, "😀" * 12,
]


def strings():
    r = random.Random(7)
    added = ["<|im_end|>", "<tool_call>", "<mask>", "word", "<right>"]
    texts = HAND + parity.CHINESE + parity.ENGLISH + parity.CODE + parity.EMOJI
    for text in parity.generated(r, added):
        if 0 < len(text) < 60 and len(texts) < 300:
            texts.append(text)
    return texts


def train(normalizer, pre, specials, alphabet):
    t = Tokenizer(models.BPE())
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(TRAINING, trainers.BpeTrainer(
        vocab_size=600, show_progress=False, special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else []))
    return t


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def special(text):
    return AddedToken(text, special=True, normalized=False)


def plain(text, **flags):
    return AddedToken(text, special=False, **{"normalized": False, **flags})


def make_qwen2():
    t = train(normalizers.NFC(), split(parity.QWEN2), [], True)
    t.add_special_tokens([special(s) for s in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    t.add_tokens([plain("<tool_call>"), plain("</tool_call>")])
    return json.loads(t.to_str())


def make_llama3():
    t = train(None, split(parity.LLAMA3), [], True)
    t.add_special_tokens([special(s) for s in ("<|begin_of_text|>", "<|im_end|>", "<|eot_id|>")])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", t.token_to_id("<|begin_of_text|>"))])])
    j = json.loads(t.to_str())
    j["model"]["ignore_merges"] = True
    # A token that the merges alone would not make, to tell ignore_merges from its absence.
    j["model"]["merges"] = [m for m in j["model"]["merges"] if "".join(m) not in ("Ġthe", "ing")]
    reached = {"".join(m) for m in j["model"]["merges"]}
    j["model"]["merges"] = [m for m in j["model"]["merges"]
                            if all(len(s) == 1 or s in reached for s in m)]
    return j


def make_smollm():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    return json.loads(train(None, pre, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], False).to_str())


def make_flags():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split("-", "isolated"), pre_tokenizers.Split(Regex(CASED), "removed", invert=True),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t = train(normalizers.Sequence([normalizers.NFC()]), pre, [], True)
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False, special=True),
                          AddedToken("<right>", rstrip=True, normalized=False, special=True)])
    t.add_tokens([plain("word", single_word=True, normalized=True), plain("\u1112\u1161\u11ab!", normalized=True),
                  plain("<tool>", normalized=True), plain("  ", normalized=True), plain("<tool>l")])
    return json.loads(t.to_str())


MARK = "\u2581"
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def make_marked(decoders_of, **changes):
    """SentencePiece's kind of BPE: byte tokens, spaces written as U+2581, merges over the whole text."""
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    t.pre_tokenizer = pre_tokenizers.Metaspace(MARK, "never", True)
    t.train_from_iterator(TRAINING, trainers.BpeTrainer(
        vocab_size=900, show_progress=False, special_tokens=["<unk>", "<s>", "</s>"] + BYTES, limit_alphabet=200))
    j = json.loads(t.to_str())
    special = [a for a in j["added_tokens"] if a["content"] in ("<unk>", "<s>", "</s>")]
    decoder = [{"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"},
               {"type": "Fuse"}] + decoders_of
    return {**j, "added_tokens": special, "pre_tokenizer": None, "decoder": {"type": "Sequence", "decoders": decoder},
            **changes}


def add(j, special, **flags):
    t = Tokenizer.from_str(json.dumps(j))
    tokens = [AddedToken(c, special=special, **{"normalized": False, **f}) for c, f in flags["tokens"]]
    (t.add_special_tokens if special else t.add_tokens)(tokens)
    return json.loads(t.to_str())


BOS = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                                {"Sequence": {"id": "A", "type_id": 0}}],
       "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
       "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
STRIP = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]


def make_llama2():
    return add(make_marked(STRIP, post_processor=BOS), True, tokens=[("<|im_end|>", {})])


def make_phi3():
    """Metaspace at the text's start only, tokens that strip, and a normalized one."""
    first = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "first", "split": False}
    j = make_marked(STRIP, normalizer=None, pre_tokenizer=first, post_processor=BOS)
    j = add(j, True, tokens=[("<|im_end|>", {"rstrip": True}), ("<mask>", {"lstrip": True})])
    return add(j, False, tokens=[("<tool_call>", {}), ("word", {"single_word": True, "normalized": True})])


def make_split():
    """Metaspace before every text, and words; its own decoder; a word that is a token stays one."""
    always = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}
    j = make_marked([], normalizer=None, pre_tokenizer=always, post_processor=None,
                    decoder={"type": "Sequence", "decoders": [{"type": "ByteFallback"}, always]})
    del j["decoder"]["decoders"][1]["split"]
    j["model"]["ignore_merges"] = True
    return add(j, True, tokens=[("<|im_end|>", {})])


def make_gemma():
    j = make_marked([], normalizer={"type": "Replace", "pattern": {"String": " "}, "content": MARK}, post_processor=BOS,
                    pre_tokenizer={"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
                                   "invert": False})
    j = add(j, True, tokens=[("<|im_end|>", {})])
    return add(j, False, tokens=[("<tool_call>", {}), ("\n\n", {}), ("  ", {"normalized": True})])


def make_deepseek():
    steps = [pre_tokenizers.Split(Regex(p), "isolated") for p in parity.DEEPSEEK3]
    pre = pre_tokenizers.Sequence(steps + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t = train(normalizers.Sequence([]), pre, [], True)
    t.add_special_tokens([special("<\uff5cbegin\u2581of\u2581sentence\uff5c>"), special("<|im_end|>")])
    return json.loads(t.to_str())


def make_tekken():
    return json.loads(train(None, split(CASED), ["<|im_end|>"], True).to_str())


def make_o200k():
    return json.loads(train(None, split(parity.O200K), ["<|im_end|>"], True).to_str())


def make_spm():
    """tiny.model and tiny_spm.gguf; returns what SentencePiece answers."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for t in TRAINING for line in t.split("\n")]), model_writer=out, model_type="bpe",
        vocab_size=900, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        character_coverage=0.98, split_digits=True, allow_whitespace_only_pieces=True, num_threads=1,
        control_symbols=["<|im_end|>"], user_defined_symbols=["<tool_call>"], minloglevel=2)
    (OUT / "tiny.model").write_bytes(out.getvalue())
    model = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    ids = range(model.get_piece_size())
    kinds = [2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 1 for i in ids]
    kinds[model.piece_to_id("<tool_call>")] = 4
    writer = gguf.GGUFWriter(str(OUT / "tiny_spm.gguf"), "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([model.id_to_piece(i) for i in ids])
    writer.add_token_scores([model.get_score(i) for i in ids])
    writer.add_token_types(kinds)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return model


def golden_spm(model, texts):
    # SentencePiece always reads the user-defined symbol; ordinary text must not hold it.
    texts = [None if t is None or "<tool_call>" in t else t for t in texts]
    ids = [None if t is None else model.encode(t) for t in texts]
    return {"ids": ids, "decoded": [None if i is None or model.decode(i) == t else model.decode(i)
                                    for i, t in zip(ids, texts)]}


def make_tiktoken(qwen2):
    """The ranks of tiny_qwen2's vocabulary, in the file's form."""
    level = {c: b for b, c in parity.byte_alphabet().items()}
    tokens = sorted((i, bytes(level[c] for c in t)) for t, i in qwen2["model"]["vocab"].items())
    lines = [base64.b64encode(t) + b" " + str(i).encode() + b"\n" for i, t in tokens]
    (OUT / "tiny.tiktoken").write_bytes(b"".join(lines))
    return str(OUT / "tiny.tiktoken")


def golden_tiktoken(path, texts):
    both = [parity.Tiktoken(path, mode).encode(texts) for mode in ("all", "none")]
    return {"all": both[0], "none": [None if a == b else b for a, b in zip(*both)]}


def encode(definition, texts, **kw):
    t = Tokenizer.from_str(json.dumps(definition))
    return [e.ids for e in t.encode_batch(texts, **kw)], t


def golden(definition, texts, full):
    ids_all, t = encode(definition, texts, add_special_tokens=False)
    ids_none, _ = encode({**definition, "added_tokens": []}, texts, add_special_tokens=False)
    # Equal lists are written once: null stands for "as in all".
    out = {"all": ids_all, "none": [None if a == b else b for a, b in zip(ids_all, ids_none)]}
    if full:
        bos, _ = encode(definition, texts[:8])
        out["bos"] = bos
        out["decoded"] = [t.decode(i, skip_special_tokens=False) for i in ids_all]
        out["decoded"] = [None if d == s else d for d, s in zip(out["decoded"], texts)]
        plain_text = [t.decode(i, skip_special_tokens=True) for i in ids_all]
        whole = [t.decode(i, skip_special_tokens=False) for i in ids_all]
        out["skipped"] = {str(k): p for k, (p, w) in enumerate(zip(plain_text, whole)) if p != w}
    return out


def write(name, value):
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    (OUT / name).write_text(text + "\n")
    print(name, len(text))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    texts = strings()
    write("strings.json", texts)
    for name, make in (("qwen2", make_qwen2), ("llama3", make_llama3), ("smollm", make_smollm), ("flags", make_flags),
                       ("llama2", make_llama2), ("phi3", make_phi3), ("split", make_split), ("gemma", make_gemma),
                       ("deepseek", make_deepseek), ("tekken", make_tekken), ("o200k", make_o200k)):
        definition = make()
        if name in ("llama3", "smollm"):  # the older way of writing them
            definition["model"]["merges"] = [" ".join(m) for m in definition["model"]["merges"]]
        write(f"tiny_{name}.json", definition)
        write(f"golden_tiny_{name}.json", golden(definition, texts, True))
    write("golden_tiny_spm.json", golden_spm(make_spm(), texts))
    qwen2 = json.loads((OUT / "tiny_qwen2.json").read_text())
    write("golden_tiny_tiktoken.json", golden_tiktoken(make_tiktoken(qwen2), texts))
    for name, path in zip(("qwen2", "smollm2"), sys.argv[1:]):
        write(f"golden_{name}.json", golden(parity.gguf_tokenizer(path), texts, False))


if __name__ == "__main__":
    main()
