/** What the page and the server say to each other under /api/. */

export type MessageState = 'complete' | 'streaming' | 'queued' | 'stopped' | 'failed' | 'interrupted'

export interface Params {
  temperature?: number
  top_p?: number
  top_k?: number
  min_p?: number
  max_tokens?: number
  seed?: number
  repetition_penalty?: number
  presence_penalty?: number
  frequency_penalty?: number
}
export type ParamName = keyof Params

export interface Chat {
  id: string
  title: string
  folder: string | null
  pinned: boolean
  model: string | null
  system: string
  params: Params
  /** The last message of the branch shown. */
  head: string | null
  /** Unix seconds. */
  created: number
  updated: number
  deleted: number | null
  messages_count: number
}

export interface ServerError {
  message: string
  type: string
  code: string | null
}

export interface Usage {
  prompt_tokens: number
  completion_tokens: number
  cached_tokens?: number
}

export interface Message {
  id: string
  chat: string
  parent: string | null
  role: 'user' | 'assistant'
  content: string
  reasoning: string
  state: MessageState
  error: ServerError | null
  model: string | null
  finish_reason: string | null
  usage: Usage | null
  timings: { ttft_ms: number | null; tokens_per_second: number | null } | null
  created: number
}

export interface ChatWithMessages extends Chat {
  messages: Message[]
}

export interface Hit extends Chat {
  /** Matches lie between \u0002 and \u0003. */
  snippet?: string
  message?: string | null
}

export interface Page<T> {
  data: T[]
  next: string | null
}

export interface Model {
  id: string
  max_model_len: number
  format?: string
  state: string
}

export interface Info {
  version: string
  models: Model[]
  defaults: Params
  folders: string[]
  language: string | null
  /** "key": calls need an API key. */
  auth: string
  history: { state: 'on' | 'off' | 'unavailable'; reason: string | null }
  /** No model yet: one is being loaded. */
  loading: boolean
}

export interface ImportResult {
  chats: number
  messages: number
  skipped: { reason: string }[]
}

export interface Delta {
  message: string
  chat: string
  /** Bytes of UTF-8 that the message (or its reasoning) has before this text. */
  offset: number
  text: string
  reasoning?: boolean
}

export interface Progress {
  message: string
  chat: string
  processed?: number
  total?: number
  /** Place in line. */
  position?: number
}

export type ServerEvent =
  | { type: 'message'; data: Message }
  | { type: 'delta'; data: Delta }
  | { type: 'progress'; data: Progress }
  | { type: 'chat'; data: Chat }
  | { type: 'chat_deleted'; data: { id: string } }
  | { type: 'hello'; data: { last: number | string } }
  | { type: 'reset'; data: unknown }
