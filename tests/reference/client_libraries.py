#!/usr/bin/env python3
"""Client libraries hold a conversation of two streamed turns with a server that wants a key; every turn's text is that
which OpenAI's own client gets for the same messages.

    python -m venv DIR && DIR/bin/pip install langchain-openai llama-index-llms-openai-like litellm
    DIR/bin/python tests/reference/client_libraries.py [MODEL]

They are too many packages for ./check (617 MB); langchain-openai is also in its examples. docs/api-parity.md has the result.
"""
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import openai

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPAN = os.environ.get("SAMPAN", str(ROOT / "build/release/sampan"))
KEY = "client-key"
ASK = ["My name is Ada. What is two plus two?", "And what is my name?"]
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks the network at its import
LIMIT = {"temperature": 0, "max_tokens": 32}


def with_langchain(url, model):
    from langchain_core.messages import AIMessage, HumanMessage
    from langchain_openai import ChatOpenAI
    chat, talk = ChatOpenAI(base_url=url, api_key=KEY, model=model, **LIMIT), []
    for question in ASK:
        talk.append(HumanMessage(question))
        talk.append(AIMessage("".join(p.content for p in chat.stream(talk))))
        yield talk[-1].content


def with_llama_index(url, model):
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike
    chat = OpenAILike(api_base=url, api_key=KEY, model=model, is_chat_model=True, context_window=2048, **LIMIT)
    talk = []
    for question in ASK:
        talk.append(ChatMessage(role="user", content=question))
        talk.append(ChatMessage(role="assistant", content="".join(p.delta or "" for p in chat.stream_chat(talk))))
        yield talk[-1].content


def with_litellm(url, model):
    import litellm
    talk = []
    for question in ASK:
        talk.append({"role": "user", "content": question})
        parts = litellm.completion(model="openai/" + model, api_base=url, api_key=KEY, messages=talk, stream=True, **LIMIT)
        talk.append({"role": "assistant", "content": "".join(p.choices[0].delta.content or "" for p in parts)})
        yield talk[-1]["content"]


def with_openai(url, model):
    client, talk = openai.OpenAI(base_url=url, api_key=KEY), []
    for question in ASK:
        talk.append({"role": "user", "content": question})
        answer = client.chat.completions.create(model=model, messages=talk, **LIMIT).choices[0].message.content
        talk.append({"role": "assistant", "content": answer})
        yield answer


def main():
    model = sys.argv[1] if len(sys.argv) > 1 else "qwen2.5-coder-0.5b"
    server = subprocess.Popen([SAMPAN, "serve", "--model", model, "--alias", "served", "--port", "0", "--api-key", KEY],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    failed = False
    try:
        url = next(found.group(1) for line in server.stdout if (found := re.match(r"Sampan answers at (\S+)", line))) + "/v1"
        want = list(with_openai(url, "served"))
        for name, package, run in (("LangChain", "langchain-openai", with_langchain),
                                   ("LlamaIndex", "llama-index-llms-openai-like", with_llama_index), ("LiteLLM", "litellm", with_litellm)):
            got = list(run(url, "served"))
            failed |= got != want
            print(f"{name} {importlib.metadata.version(package)}: {'the same as openai' if got == want else f'{got} instead of {want}'}")
        print("openai", openai.__version__, "got:", *map(repr, want), sep="\n  ")
    finally:
        server.terminate()
        server.wait(timeout=60)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
