/** What events told of things, beside the answers to calls: an event that came during a call is newer than its answer. */
export class Heard {
  private readonly times = new Map<string, number>()

  note(id: string): void {
    this.times.set(id, (this.times.get(id) ?? 0) + 1)
  }

  /** Makes a call about `id` (null: it makes a new thing) and takes what it answers, unless an event was faster. */
  async call<T extends { id: string }>(id: string | null, call: () => Promise<T>, take: (answer: T) => void): Promise<T> {
    const before = id === null ? undefined : this.times.get(id)
    const answer = await call()
    if (this.times.get(answer.id) === before) take(answer)
    return answer
  }
}
