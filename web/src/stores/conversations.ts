/**
 * The messages of the chats that this tab shows: trees that the server's events keep up to date, and what the person does
 * to them. Text of a growing answer is collected and shown at most once a frame.
 */
import { defineStore } from 'pinia'
import { markRaw, type Ref, ref, shallowReactive, shallowRef } from 'vue'
import { ApiError, api, type ChatFields, insist } from '../api/client'
import type { Attachment, Chat, ChatWithMessages, Message, Params, ServerEvent } from '../api/types'
import { newId } from '../lib/id'
import { Pace } from '../lib/pace'
import { load, save } from '../lib/storage'
import { Assembly } from '../lib/stream'
import { Tree } from '../lib/tree'
import { useChats } from './chats'
import { useDrafts } from './drafts'
import { useFiles } from './files'

/** A message as this tab knows it. */
export type LiveMessage = Message & {
  progress?: { processed: number; total: number }
  position?: number
  /** While it grows: tokens a second lately, tokens so far, and ms that the first took. */
  pace?: number
  tokens?: number
  ttft?: number
  /** The server hasn't confirmed it yet. */
  sending?: boolean
  /** Why it could not be sent; its text is safe in the outbox. */
  unsent?: ApiError
}

export interface Conversation {
  id: string
  tree: Tree<LiveMessage>
  /** Counts up when messages come, go or move. */
  shape: Ref<number>
  state: Ref<'loading' | 'ready' | 'failed' | 'missing'>
  error: Ref<ApiError | null>
  /** Events that came while the chat was being read. */
  held: ServerEvent[]
  reading: boolean
  /** Something may have been missed since the reading began. */
  again: boolean
}

interface OutboxEntry {
  chat: string
  id: string
  parent: string | null
  content: string
  files?: Attachment[]
  answer: string
}

const OUTBOX = 'sampan.outbox'
const REREAD = 400 // ms: the server has saved by then what it published
const HIDDEN_FLUSH = 250 // ms; hidden tabs have no frames

export const running = (message: Pick<Message, 'state'>) => message.state === 'streaming' || message.state === 'queued'

export const useConversations = defineStore('conversations', () => {
  const chats = useChats()
  const drafts = useDrafts()
  const files = useFiles()
  const open = shallowReactive(new Map<string, Conversation>())
  const growing = new Map<string, { content: Assembly; reasoning: Assembly }>()
  const paces = new Map<string, Pace>()
  const stopWanted = new Set<string>()
  /** Chats with a message on its way, and the id of the answer to it. */
  const delivering = shallowReactive(new Map<string, string>())
  const dirty = new Map<string, LiveMessage>()
  let flushing = false
  /** Told of failures that no caller waits for. */
  const failed = shallowRef<((error: unknown) => void) | null>(null)

  // ---- reading

  function conversation(id: string): Conversation {
    let found = open.get(id)
    if (!found) {
      found = {
        id, tree: markRaw(new Tree<LiveMessage>()), shape: ref(0), state: ref('loading'), error: shallowRef(null), held: [], reading: false, again: false,
      }
      open.set(id, found)
      void read(found)
    }
    return found
  }

  async function read(it: Conversation): Promise<void> {
    it.again = it.reading
    if (it.reading) return
    it.reading = true
    try {
      const chat = await insist(() => api.chat(it.id))
      take(it, chat)
      it.state.value = 'ready'
      it.error.value = null
    } catch (error) {
      const failure = error instanceof ApiError ? error : new ApiError(0, String(error))
      it.error.value = failure
      it.state.value = failure.status === 404 ? 'missing' : it.tree.size ? 'ready' : 'failed'
    } finally {
      it.reading = false
      it.held.splice(0).forEach(apply)
      if (it.again) void read(it)
    }
  }

  function take(it: Conversation, chat: ChatWithMessages): void {
    chats.put(chat)
    const there = new Set(chat.messages.map((message) => message.id))
    for (const message of [...it.tree.all()]) if (!there.has(message.id) && !message.sending && !message.unsent) it.tree.remove(message.id)
    for (const message of chat.messages) put(it, message, true)
    for (const entry of outbox()) if (entry.chat === it.id && !it.tree.get(entry.id)) putLocal(it, entry)
    it.shape.value++
  }

  /** `read`: what the server had when it was asked, which may be older than pieces that came since. */
  function put(it: Conversation, message: Message, wasRead = false): LiveMessage {
    const parts = growing.get(message.id)
    let { content, reasoning } = message
    if (running(message) && wasRead && parts) {
      parts.content.read(content)
      parts.reasoning.read(reasoning)
      content = parts.content.text
      reasoning = parts.reasoning.text
    } else if (running(message)) growing.set(message.id, { content: new Assembly(content), reasoning: new Assembly(reasoning) })
    else growing.delete(message.id)
    if (!running(message)) paces.delete(message.id)
    dirty.delete(message.id)
    const old = it.tree.get(message.id)
    if (old) {
      Object.assign(old, message, { content, reasoning })
      delete old.sending
      delete old.unsent
      if (message.state !== 'queued') delete old.position
      if (!running(message)) {
        delete old.progress
        delete old.pace
        delete old.tokens
        delete old.ttft
      }
      return old
    }
    const made = shallowReactive<LiveMessage>({ ...message, content, reasoning })
    it.tree.put(made)
    it.shape.value++
    return made
  }

  // ---- the server's events

  function apply(event: ServerEvent): void {
    if (event.type === 'chat') return chats.put(event.data)
    if (event.type === 'chat_deleted') {
      chats.gone(event.data.id)
      const gone = open.get(event.data.id)
      if (gone) gone.state.value = 'missing'
      return
    }
    if (event.type === 'reset') return void refresh()
    if (event.type === 'hello') return paces.clear() // what was missed comes at once, and is no speed
    if (event.type !== 'message' && event.type !== 'delta' && event.type !== 'progress') return // of other parts of the page
    const it = open.get(event.data.chat)
    if (!it) return
    if (it.reading) {
      it.held.push(event)
      return
    }
    if (event.type === 'message') {
      put(it, event.data)
      return
    }
    const message = it.tree.get(event.data.message)
    if (!message) return rereadSoon(it)
    if (event.type === 'progress') {
      if (event.data.total !== undefined) message.progress = { processed: event.data.processed ?? 0, total: event.data.total }
      if (event.data.position !== undefined) message.position = event.data.position
      return
    }
    const { offset, text, reasoning, tokens, ttft_ms } = event.data
    let parts = growing.get(message.id)
    if (!parts) {
      if (!running(message)) return // a late piece of what is whole already
      parts = { content: new Assembly(message.content), reasoning: new Assembly(message.reasoning) }
      growing.set(message.id, parts)
    }
    const part = reasoning ? parts.reasoning : parts.content
    part.add(offset, text)
    if (part.hole) return rereadSoon(it)
    if (ttft_ms !== undefined) message.ttft = ttft_ms
    if (tokens !== undefined) count(message, tokens)
    dirty.set(message.id, message)
    flushSoon()
  }

  function count(message: LiveMessage, tokens: number): void {
    let pace = paces.get(message.id)
    if (!pace) paces.set(message.id, (pace = new Pace()))
    const now = pace.add(tokens, performance.now())
    if (now === null) return
    message.pace = now
    message.tokens = tokens
  }

  function flushSoon(): void {
    if (flushing) return
    flushing = true
    if (document.hidden) setTimeout(flush, HIDDEN_FLUSH)
    else requestAnimationFrame(flush)
  }

  function flush(): void {
    flushing = false
    for (const [id, message] of dirty) {
      const parts = growing.get(id)
      if (!parts) continue
      message.state = 'streaming'
      message.content = parts.content.text
      message.reasoning = parts.reasoning.text
    }
    dirty.clear()
  }

  const rereads = new Map<string, ReturnType<typeof setTimeout>>()
  function rereadSoon(it: Conversation): void {
    if (rereads.has(it.id)) return
    rereads.set(
      it.id,
      setTimeout(() => {
        rereads.delete(it.id)
        void read(it)
      }, REREAD),
    )
  }

  /** The stream is there now: what happened to answers between reading them and this moment came by no event. */
  function subscribed(): void {
    for (const it of open.values()) if (it.reading || [...it.tree.all()].some(running)) void read(it)
  }

  /** After the stream was away for too long: whatever is shown is read again. */
  async function refresh(): Promise<void> {
    await Promise.all([chats.first(), ...[...open.values()].map(read)])
  }

  // ---- sending

  const outbox = () => load<OutboxEntry[]>(OUTBOX, [])
  const keep = (entry: OutboxEntry) => save(OUTBOX, [...outbox().filter((e) => e.id !== entry.id), entry])
  const drop = (id: string) => save(OUTBOX, outbox().filter((e) => e.id !== id))

  function blank(chat: string, id: string, parent: string | null, role: Message['role']): Message {
    return {
      id, chat, parent, role, content: '', reasoning: '', state: role === 'user' ? 'complete' : 'queued', error: null, model: null,
      finish_reason: null, usage: null, timings: null, created: Date.now() / 1000,
    }
  }

  function putLocal(it: Conversation, entry: OutboxEntry): LiveMessage {
    const message = shallowReactive<LiveMessage>({ ...blank(it.id, entry.id, entry.parent, 'user'), content: entry.content, attachments: entry.files ?? [], sending: true })
    it.tree.put(message)
    it.shape.value++
    return message
  }

  function showHead(chat: string, head: string): void {
    const known = chats.known.get(chat)
    if (known) chats.put({ ...known, head })
  }

  /** The chat with its first message on the way; rejects when the chat could not be made (nothing was sent then). */
  async function start(fields: ChatFields, content: string, attached: Attachment[] = []): Promise<string> {
    const chat: Chat = await api.createChat(fields)
    chats.put(chat)
    const it: Conversation = {
      id: chat.id, tree: markRaw(new Tree<LiveMessage>()), shape: ref(0), state: ref('ready'), error: shallowRef(null), held: [], reading: false, again: false,
    }
    open.set(chat.id, it)
    say(chat.id, null, content, attached).catch((error: unknown) => failed.value?.(error))
    return chat.id
  }

  /** A chat with one question, for answers of several models. */
  async function pose(fields: ChatFields, content: string): Promise<{ chat: string; question: string }> {
    const chat = await api.createChat(fields)
    chats.put(chat)
    const it: Conversation = {
      id: chat.id, tree: markRaw(new Tree<LiveMessage>()), shape: ref(0), state: ref('ready'), error: shallowRef(null), held: [], reading: false, again: false,
    }
    open.set(chat.id, it)
    const question = newId('m_')
    put(it, await insist(() => api.addMessage(chat.id, { id: question, parent: null, content })))
    return { chat: chat.id, question }
  }

  /** A message and the answer to it. From here on the text is in the outbox until the server has it. */
  async function say(chat: string, parent: string | null, content: string, attached: Attachment[] = []): Promise<void> {
    const entry: OutboxEntry = { chat, id: newId('m_'), parent, content, answer: newId('m_'), ...(attached.length ? { files: attached } : {}) }
    keep(entry)
    await deliver(entry)
  }

  async function deliver(entry: OutboxEntry): Promise<void> {
    delivering.set(entry.chat, entry.answer)
    try {
      await bring(entry)
    } finally {
      stopWanted.delete(entry.answer)
      if (delivering.get(entry.chat) === entry.answer) delivering.delete(entry.chat)
    }
  }

  async function bring(entry: OutboxEntry): Promise<void> {
    const it = conversation(entry.chat)
    const message = it.tree.get(entry.id) ?? putLocal(it, entry)
    message.sending = true
    delete message.unsent
    showHead(entry.chat, entry.id)
    try {
      put(it, await insist(() => api.addMessage(entry.chat, { id: entry.id, parent: entry.parent, content: entry.content, ...(entry.files ? { files: entry.files.map((file) => file.id) } : {}) })))
    } catch (error) {
      const now = it.tree.get(entry.id) ?? message
      delete now.sending
      now.unsent = error instanceof ApiError ? error : new ApiError(0, String(error))
      if (now.unsent.status === 404) rescue(entry)
      return
    }
    drop(entry.id)
    await answer(entry.chat, entry.id, entry.answer)
  }

  /** The chat is gone: the words go where the next chat begins. */
  function rescue(entry: OutboxEntry): void {
    drafts.set(null, [drafts.get(null), entry.content].filter(Boolean).join('\n\n'))
    files.putBack(null, entry.files ?? [])
    drop(entry.id)
  }

  /** Sends what an earlier visit, or a server that was away, left behind. */
  function deliverAll(): void {
    for (const entry of outbox()) {
      const message = open.get(entry.chat)?.tree.get(entry.id)
      if (!message?.sending) deliver(entry).catch((error: unknown) => failed.value?.(error))
    }
  }

  /** Takes an unsent message back, its files to the chips above the input, and returns its text. */
  function takeBack(message: LiveMessage): string {
    drop(message.id)
    files.putBack(message.chat, message.attachments ?? [])
    const it = open.get(message.chat)
    it?.tree.remove(message.id)
    if (it) it.shape.value++
    return message.content
  }

  /** A new answer to a message; `of`: by another model than the chat's, or with other parameters. */
  async function answer(chat: string, parent: string, id = newId('m_'), of: { model?: string; params?: Params } = {}): Promise<void> {
    const it = conversation(chat)
    if (!it.tree.get(id)) {
      it.tree.put(shallowReactive<LiveMessage>({ ...blank(chat, id, parent, 'assistant'), sending: true }))
      it.shape.value++
    }
    showHead(chat, id)
    let begun: LiveMessage
    try {
      begun = await begin(it, () => insist(() => api.generate(chat, { parent, id, ...of })))
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) return void read(it)
      it.tree.remove(id)
      it.shape.value++
      showHead(chat, parent)
      throw error
    }
    if (stopWanted.delete(id)) await stop(begun)
  }

  /** An answer that is marked as sending is ordered. What events tell of it before the order is confirmed is newer. */
  async function begin(it: Conversation, order: () => Promise<Message>): Promise<LiveMessage> {
    const made = await order()
    const known = it.tree.get(made.id)
    return !known || known.sending ? put(it, made) : known
  }

  async function resume(message: LiveMessage): Promise<void> {
    const before = message.state
    message.state = 'queued'
    message.sending = true
    try {
      await begin(conversation(message.chat), () => api.generate(message.chat, { parent: message.id, continue: true }))
    } catch (error) {
      stopWanted.delete(message.id)
      if (message.sending) message.state = before
      delete message.sending
      throw error
    }
    if (stopWanted.delete(message.id)) await stop(message)
  }

  /** The answer, or the one to a message that is on its way. One that the server doesn't know yet is stopped when it does. */
  async function stop(message: LiveMessage): Promise<void> {
    const ordered = message.role === 'user' ? delivering.get(message.chat) : message.sending ? message.id : undefined
    if (ordered) {
      stopWanted.add(ordered)
      return
    }
    if (!running(message)) return
    const stopped = await insist(() => api.stop(message.id), [200, 500])
    const it = conversation(message.chat)
    const now = it.tree.get(message.id)
    if (!now || running(now)) put(it, stopped) // else its end came first
  }

  async function rewrite(message: LiveMessage, content: string): Promise<void> {
    put(conversation(message.chat), await api.changeMessage(message.id, content))
  }

  /** Shows the branch of another sibling. */
  async function choose(chat: string, id: string): Promise<void> {
    const head = conversation(chat).tree.leaf(id)
    await chats.change(chat, { head })
  }

  return { open, failed, delivering, conversation, read, apply, subscribed, refresh, start, pose, say, answer, resume, stop, rewrite, choose, deliver, deliverAll, takeBack }
})
