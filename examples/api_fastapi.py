"""A FastAPI service of one's own in front of Sampan: POST /summary {"text": ...} streams a summary.

    uvicorn --app-dir examples api_fastapi:app --port 9000
"""
import os

import openai
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

app = FastAPI(title="Summaries")
client = openai.AsyncOpenAI(base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1"),
                            api_key=os.environ.get("OPENAI_API_KEY", "none"))
MODEL = os.environ.get("MODEL", "qwen2.5-coder-0.5b")


class Text(BaseModel):
    text: str = Field(min_length=1, max_length=4000)
    tokens: int = Field(default=48, ge=1, le=512)


@app.post("/summary")
async def summary(body: Text):
    try:
        stream = await client.chat.completions.create(
            model=MODEL, temperature=0, max_tokens=body.tokens, stream=True,
            messages=[{"role": "user", "content": f"Summarize in one sentence:\n{body.text}"}])
    except openai.APIStatusError as error:
        raise HTTPException(error.status_code, error.message) from error
    except openai.APIConnectionError as error:
        raise HTTPException(502, "Sampan does not answer: is it running?") from error

    async def pieces():
        async for chunk in stream:
            if chunk.choices:
                yield chunk.choices[0].delta.content or ""
    return StreamingResponse(pieces(), media_type="text/plain; charset=utf-8")
