import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

let turns: typeof import('../src/lib/turns')
let clock = 0
let done: string[] = []

/** A job that takes some ms. */
const job = (name: string, ms: number) => () => {
  clock += ms
  done.push(name)
}
/** The timers' time, while no job runs. */
const pass = (ms: number) => vi.advanceTimersByTime(ms)

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  vi.resetModules()
  vi.spyOn(performance, 'now').mockImplementation(() => clock)
  turns = await import('../src/lib/turns')
  done = []
})
afterEach(() => vi.useRealTimers())

describe('turns', () => {
  it('come at once while little was done', () => {
    turns.turn(job('a', 1))
    turns.turn(job('b', 1))
    expect(done).toEqual(['a', 'b'])
  })
  it('come in portions, in the order of asking, when there is much', () => {
    for (const name of 'abcdefg') turns.turn(job(name, 2))
    expect(done).toEqual(['a', 'b'])
    pass(11)
    expect(done).toEqual(['a', 'b'])
    pass(1)
    expect(done).toEqual(['a', 'b', 'c', 'd'])
    pass(12)
    expect(done.length).toBe(6)
    pass(12)
    expect(done.join('')).toBe('abcdefg')
  })
  it('leave time after a long job', () => {
    turns.turn(job('long', 40))
    turns.turn(job('next', 1))
    pass(119)
    expect(done).toEqual(['long'])
    pass(1)
    expect(done).toEqual(['long', 'next'])
  })
  it('come at once again after a pause', () => {
    turns.turn(job('a', 5))
    pass(20)
    turns.turn(job('b', 5))
    expect(done).toEqual(['a', 'b'])
  })
  it('are one for a job that waits already, and none for one that was taken back', () => {
    const twice = job('twice', 1)
    const never = job('never', 1)
    turns.turn(job('long', 40))
    turns.turn(twice)
    turns.turn(never)
    turns.turn(twice)
    turns.noTurn(never)
    pass(1000)
    expect(done).toEqual(['long', 'twice'])
    turns.turn(twice)
    expect(done).toEqual(['long', 'twice', 'twice'])
  })
  it('go on after a job that throws', () => {
    turns.turn(job('long', 40))
    turns.turn(() => {
      throw new Error('a job')
    })
    turns.turn(job('next', 1))
    expect(() => pass(120)).toThrow('a job')
    pass(1000)
    expect(done).toEqual(['long', 'next'])
  })
  it('may ask for more', () => {
    turns.turn(() => {
      job('outer', 5)()
      turns.turn(job('inner', 1))
    })
    expect(done).toEqual(['outer', 'inner'])
  })
})
