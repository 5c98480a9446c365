/**
 * Puts an answer together from pieces that say where they belong. Pieces may come twice (after a reconnect), overlap what a
 * reload already read, or leave a hole: then they wait until the hole is filled by reading the message again.
 */
import { dropBytes, utf8Length } from './utf8'

interface Piece {
  offset: number
  text: string
}

export class Assembly {
  text: string
  private bytes: number
  private waiting: Piece[] = []

  constructor(text = '') {
    this.text = text
    this.bytes = utf8Length(text)
  }

  /** True while pieces wait for a hole before them. */
  get hole(): boolean {
    return this.waiting.length > 0
  }

  add(offset: number, text: string): void {
    if (offset > this.bytes) {
      this.waiting.push({ offset, text })
      return
    }
    this.append(offset, text)
    this.settle()
  }

  /** What was read from the server; pieces that came meanwhile go on from there. */
  read(text: string): void {
    const bytes = utf8Length(text)
    if (bytes >= this.bytes || !this.text.startsWith(text)) {
      this.text = text
      this.bytes = bytes
    }
    this.settle()
  }

  private append(offset: number, text: string): void {
    const known = this.bytes - offset
    const length = utf8Length(text)
    if (known >= length) return
    this.text += dropBytes(text, known)
    this.bytes += length - known
  }

  private settle(): void {
    if (!this.waiting.length) return
    this.waiting.sort((a, b) => a.offset - b.offset)
    while (this.waiting[0] && this.waiting[0].offset <= this.bytes) {
      const piece = this.waiting.shift() as Piece
      this.append(piece.offset, piece.text)
    }
  }
}
