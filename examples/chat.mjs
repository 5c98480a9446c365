// JavaScript: fetch alone, in Node or a browser; prints the answer as it comes.
const env = globalThis.process?.env ?? {};
const url = env.OPENAI_BASE_URL ?? "http://127.0.0.1:8080/v1";
const headers = { "Content-Type": "application/json", Authorization: `Bearer ${env.OPENAI_API_KEY ?? "none"}` };

async function* chat(messages, model) {
  const body = JSON.stringify({ model, messages, stream: true, temperature: 0, max_tokens: 32 });
  const answer = await fetch(`${url}/chat/completions`, { method: "POST", headers, body });
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  let rest = "";
  for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + part).split("\n");
    rest = lines.pop(); // a line may be cut anywhere
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Error(event.error.message);
      yield event.choices[0]?.delta.content ?? "";
    }
  }
}

const models = await (await fetch(`${url}/models`, { headers })).json();
if (models.error) throw new Error(models.error.message);
const model = env.MODEL ?? models.data[0].id;
for await (const text of chat([{ role: "user", content: "Say hello to the world." }], model)) process.stdout.write(text);
console.log();
await chat([], model).next().catch((error) => console.log("as it should:", error.message));
