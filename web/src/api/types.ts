/** What the page and the server say to each other under /api/. */

import type { components } from '../generated/openapi'

type Schemas = components['schemas']

/** Numbers of a chat; only those that are set. */
export type ParamName = Exclude<keyof Schemas['ChatParams'], 'stop' | 'min_tokens' | 'chat_template_kwargs'>
export type Params = Partial<Record<ParamName, number>>

/** `head`: the last message of the branch shown. Times are Unix seconds. */
export type Chat = Omit<Schemas['Chat'], 'messages' | 'params' | 'snippet' | 'message' | 'file'> & { params: Params }

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

export type Message = Omit<Schemas['ChatMessage'], 'error' | 'usage' | 'timings' | 'attachments'> & {
  error: ServerError | null
  usage: Usage | null
  timings: { ttft_ms: number | null; tokens_per_second: number | null } | null
  attachments?: Attachment[]
}
/** A file of a message; its text is asked for by its id. */
export type Attachment = Schemas['Attachment']
/** The same before it is a message's, with its length for a model. */
export type FileEntry = Schemas['File']
export type MessageState = Message['state']

export interface ChatWithMessages extends Chat {
  messages: Message[]
}

export interface Hit extends Chat {
  /** Matches lie between \u0002 and \u0003. */
  snippet?: string
  message?: string | null
  /** The message's file that matched. */
  file?: Schemas['Chat']['file']
}

export interface Page<T> {
  data: T[]
  next: string | null
}

export interface Model {
  id: string
  /** The name of the model itself; `id` may be another of its names. */
  root?: string
  /** null: not known before it was loaded once. */
  max_model_len: number | null
  format?: string
  state: string
  /** Of its load, 0 to 1, when an event told of it. */
  progress?: number | null
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
  /** Largest file that is taken. */
  upload_bytes: number
}

export type Session = Schemas['Session']
export type ApiKey = Schemas['ApiKey']
export type KeyList = Schemas['KeyList']
export type NewKey = Schemas['NewKey']

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
  /** Of the answer so far. */
  tokens?: number
  /** In the first piece: how long it took to come. */
  ttft_ms?: number
}

export type Stats = Schemas['Stats'] & { ended?: EndedRequest[] }
export type ModelStats = Schemas['ModelStats']
export type LiveRequest = Schemas['LiveRequest']
export type EndedRequest = Schemas['EndedRequest']
export type ServerState = Schemas['ServerState']
export type Setting = Schemas['Setting']
export type StoredModel = Schemas['StoredModel']
export type CatalogueModel = Schemas['CatalogueModel']
export type ModelList = Schemas['ModelList']
export type ModelDetails = Schemas['ModelDetails']
export type Fit = CatalogueModel['fit']

/** A model was loaded, unloaded, put to sleep or deleted, or its load has gone on. */
export interface ModelNews {
  id: string
  state: string
  progress?: number | null
  error?: string | null
}

export interface Progress {
  message: string
  chat: string
  processed?: number
  total?: number
  /** Place in line. */
  position?: number
}

export type Job = Schemas['Job']
export type JobState = Job['state']
export type Template = Schemas['Template']
export type TemplateFields = Schemas['TemplateFields']
export type TemplateField = TemplateFields['fields'][number]
export interface JobPart {
  number: number
  source: { role: string; before?: string; text?: string; after?: string; of?: number[]; line?: number; custom_id?: string; request?: { messages: { role: string; content: string }[] } }
  result: { text?: string; finish_reason?: string; error?: { code: string; message: string } } | null
  state: 'waiting' | 'running' | 'done' | 'failed'
  /** While it runs: its text so far. */
  text?: string
}

export type ServerEvent =
  | { type: 'job'; data: Job }
  | { type: 'job_deleted'; data: { id: string } }
  | { type: 'job_part'; data: { job: string; number: number; state: JobPart['state']; result: JobPart['result'] } }
  | { type: 'job_delta'; data: { job: string; number: number; offset: number; text: string } }
  | { type: 'template'; data: Template }
  | { type: 'template_deleted'; data: { id: string } }
  | { type: 'message'; data: Message }
  | { type: 'delta'; data: Delta }
  | { type: 'progress'; data: Progress }
  | { type: 'chat'; data: Chat }
  | { type: 'chat_deleted'; data: { id: string } }
  | { type: 'model'; data: ModelNews }
  | { type: 'stats'; data: Stats }
  | { type: 'hello'; data: { last: number | string } }
  | { type: 'reset'; data: unknown }
