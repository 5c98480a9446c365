"""LangChain: a prompt, the model and a parser in one chain; whole, streamed and in a batch."""
import os

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

model = ChatOpenAI(base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1"),
                   api_key=os.environ.get("OPENAI_API_KEY", "none"),
                   model=os.environ.get("MODEL", "qwen2.5-coder-0.5b"), temperature=0, max_tokens=24)
prompt = ChatPromptTemplate([("system", "You are a translator into {language}."), ("user", "{text}")])
chain = prompt | model | StrOutputParser()

print("whole:", chain.invoke({"language": "French", "text": "Good morning."}))
print("streamed:", end=" ")
for piece in chain.stream({"language": "Spanish", "text": "Good night."}):
    print(piece, end="", flush=True)
print()
# The server answers these together.
for answer in chain.batch([{"language": "German", "text": text} for text in ("One.", "Two.", "Three.")]):
    print("batch:", answer)
