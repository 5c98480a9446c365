/** Tokens a second over the last seconds, from counts that come with the pieces of an answer. */
const WINDOW = 4000 // ms that are looked back
const STEP = 250 // ms between two marks, and between two figures
const LEAST = 600 // ms before the first figure
const BURST = 250 // ms at the start in which what was missed comes at once

export class Pace {
  private marks: { tokens: number; at: number }[] = []
  private begun = 0

  /** The speed when there is a new figure, else null. */
  add(tokens: number, now: number): number | null {
    const last = this.marks.at(-1)
    if (!last) this.begun = now
    if (!last || now - this.begun < BURST) {
      this.marks = [{ tokens, at: now }]
      return null
    }
    if (now - last.at < STEP) return null
    this.marks.push({ tokens, at: now })
    while (this.marks.length > 2 && now - (this.marks[1] as { at: number }).at >= WINDOW) this.marks.shift()
    const first = this.marks[0] as { tokens: number; at: number }
    return now - first.at < LEAST ? null : ((tokens - first.tokens) * 1000) / (now - first.at)
  }
}
