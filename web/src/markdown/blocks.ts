/**
 * Markdown that grows at its end. The text is cut into top-level blocks; all but the last are finished and never looked
 * at again, so a token costs what the last block costs, however long the answer is. Cutting is cheap; a block becomes HTML
 * when it is asked for, by itself, so that a long text can be shown a block at a time.
 */
import { highlighted } from './lazy'
import { languageOf, md } from './render'

type Env = Record<string, unknown>

export interface Block {
  readonly key: number
  /** Its Markdown. */
  readonly source: string
  /** What links of the whole text refer to. */
  readonly env: Env
  /** Made anew each time; not cleaned yet. */
  readonly html: string
  /** A code block that is still open: its text as it stands, which is cheaper to show than HTML. */
  readonly code?: { language: string; text: string }
}

type Token = ReturnType<typeof md.parse>[number]

interface Group {
  tokens: Token[]
  /** Lines [from, to) of what was parsed. */
  from: number
  to: number
}

function groupsOf(tokens: Token[]): Group[] {
  const groups: Group[] = []
  let open: Token[] = []
  for (const token of tokens) {
    open.push(token)
    if (token.level !== 0 || token.nesting === 1) continue
    const map = open[0]?.map
    if (map) groups.push({ tokens: open, from: map[0], to: map[1] })
    open = []
  }
  return groups
}

/** Where each line begins, and the end. */
function lineStarts(text: string): number[] {
  const starts = [0]
  for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', end + 1)) starts.push(end + 1)
  return [...starts, text.length]
}

/** The tokens of blocks, without what stands inside of them; what links refer to goes into env. */
function blockTokens(text: string, env: Env): Token[] {
  const tokens: Token[] = []
  md.block.parse(text, md, env, tokens)
  return tokens
}

/** A fence without its closing line yet. */
function openFence(group: Group, lastLine: string): Token | null {
  const token = group.tokens[0]
  if (!token || token.type !== 'fence' || group.tokens.length !== 1) return null
  const last = lastLine.trim()
  const closed = group.to - group.from > 1 && last.startsWith(token.markup) && !last.replaceAll(token.markup[0] ?? '`', '')
  return closed ? null : token
}

class TextBlock implements Block {
  constructor(
    readonly key: number,
    readonly source: string,
    readonly env: Env,
  ) {}

  get html(): string {
    return md.render(this.source, this.env)
  }
}

export class BlockRenderer {
  private finished: Block[] = []
  private text = ''
  private start = 0
  private env: Env = {}

  /** The blocks of the text; `growing`: more may come at its end. */
  update(text: string, growing: boolean): Block[] {
    if (text.includes('\r')) text = text.replace(/\r\n?/g, '\n')
    if (!text.startsWith(this.text.slice(0, this.start))) this.reset()
    this.text = text
    const tail = text.slice(this.start)
    const groups = groupsOf(blockTokens(tail, this.env))
    const last = groups.pop()
    if (!last) return [...this.finished]
    const starts = lineStarts(tail)
    const lines = (from: number, to: number) => tail.slice(starts[from], starts[to])
    for (const { from, to } of groups) this.finished.push(new TextBlock(this.finished.length, lines(from, to), this.env))
    if (groups.length) this.start += starts[last.from] ?? 0
    const key = this.finished.length
    const fence = growing ? openFence(last, lines(last.to - 1, last.to)) : null
    if (!fence) return [...this.finished, new TextBlock(key, lines(last.from, last.to), this.env)]
    return [...this.finished, { key, source: '', env: this.env, html: '', code: { language: languageOf(fence.info), text: fence.content } }]
  }

  private reset(): void {
    this.finished = []
    this.start = 0
    this.env = {}
  }
}

/** Highlighting is asked for as soon as a code block begins, so that it is there when the block ends. */
export function expectCode(language: string): void {
  highlighted('', language)
}
