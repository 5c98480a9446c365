/**
 * Markdown that grows at its end. The text is cut into top-level blocks; all but the last are finished and never looked
 * at again, so a token costs what the last block costs, however long the answer is.
 */
import { highlighted } from './lazy'
import { languageOf, md } from './render'

export interface Block {
  key: number
  /** Not cleaned yet. */
  html: string
  /** A code block that is still open: its text as it stands, which is cheaper to show than HTML. */
  code?: { language: string; text: string }
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
    else groups.at(-1)?.tokens.push(...open)
    open = []
  }
  return groups
}

function lineStart(text: string, line: number): number {
  let at = 0
  for (let i = 0; i < line; i++) {
    const end = text.indexOf('\n', at)
    if (end < 0) return text.length
    at = end + 1
  }
  return at
}

/** A fence without its closing line yet. */
function openFence(group: Group, tail: string): Token | null {
  const token = group.tokens[0]
  if (!token || token.type !== 'fence' || group.tokens.length !== 1) return null
  const last = tail.slice(lineStart(tail, group.to - 1)).split('\n', 1)[0] ?? ''
  const closed = group.to - group.from > 1 && last.trim().startsWith(token.markup) && !last.trim().replaceAll(token.markup[0] ?? '`', '')
  return closed ? null : token
}

export class BlockRenderer {
  private finished: Block[] = []
  private text = ''
  private start = 0
  private env: Record<string, unknown> = {}
  private nextKey = 0

  /** The blocks of the text; `growing`: more may come at its end. */
  update(text: string, growing: boolean): Block[] {
    if (!text.startsWith(this.text.slice(0, this.start))) this.reset()
    this.text = text
    const tail = text.slice(this.start)
    const groups = groupsOf(md.parse(tail, this.env))
    const last = groups.pop()
    for (const group of groups) this.finished.push(this.block(group, this.nextKey++))
    if (!last) return [...this.finished]
    if (groups.length) this.start += lineStart(tail, last.from)
    const fence = growing ? openFence(last, tail) : null
    const block = fence
      ? { key: this.nextKey, html: '', code: { language: languageOf(fence.info), text: fence.content } }
      : this.block(last, this.nextKey)
    return [...this.finished, block]
  }

  /** Everything is rendered again at the next update. */
  reset(): void {
    this.finished = []
    this.start = 0
    this.env = {}
    this.nextKey = 0
  }

  private block(group: Group, key: number): Block {
    return { key, html: md.renderer.render(group.tokens, md.options, this.env) }
  }
}

/** Highlighting is asked for as soon as a code block begins, so that it is there when the block ends. */
export function expectCode(language: string): void {
  highlighted('', language)
}
