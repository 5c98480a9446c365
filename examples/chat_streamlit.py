"""A chat page with Streamlit: it keeps the conversation and shows the answer as it comes.

    streamlit run examples/chat_streamlit.py
"""
import os

import openai
import streamlit as st

client = openai.OpenAI(base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1"),
                       api_key=os.environ.get("OPENAI_API_KEY", "none"))

st.title("Sampan")
with st.sidebar:
    model = st.selectbox("Model", [m.id for m in client.models.list().data])
    temperature = st.slider("Temperature", 0.0, 2.0, 0.7)
    tokens = st.slider("Longest answer, tokens", 16, 1024, 256)
    if st.button("New conversation"):
        st.session_state.messages = []

messages = st.session_state.setdefault("messages", [])
for message in messages:
    st.chat_message(message["role"]).write(message["content"])

question = st.chat_input("Ask something")
if question:
    messages.append({"role": "user", "content": question})
    st.chat_message("user").write(question)
    try:
        stream = client.chat.completions.create(model=model, messages=messages, temperature=temperature,
                                                max_tokens=tokens, stream=True)
        messages.append({"role": "assistant", "content": st.chat_message("assistant").write_stream(stream)})
    except openai.APIError as error:
        st.error(error.message)
