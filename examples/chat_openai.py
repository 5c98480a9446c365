"""Python with OpenAI's client: a chat whose answer is printed as it comes, then text to tokens and back."""
import os

import openai

client = openai.OpenAI(base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1"),
                       api_key=os.environ.get("OPENAI_API_KEY", "none"))
model = os.environ.get("MODEL") or client.models.list().data[0].id

stream = client.chat.completions.create(
    model=model, temperature=0, max_tokens=32, stream=True, stream_options={"include_usage": True},
    messages=[{"role": "system", "content": "You answer in one sentence."},
              {"role": "user", "content": "What is a sampan?"}])
usage = None
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    usage = chunk.usage or usage
print(f"\n[{usage.prompt_tokens} tokens in, {usage.completion_tokens} out]")

try:
    client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "Hi"}])
except openai.NotFoundError as error:
    print("as it should:", error.body["message"])
