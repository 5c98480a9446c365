import { describe, expect, it } from 'vitest'
import { Tree, type TreeNode } from '../src/lib/tree'

function tree(...nodes: [string, string | null][]): Tree<TreeNode> {
  const it = new Tree<TreeNode>()
  nodes.forEach(([id, parent], created) => it.put({ id, parent, created }))
  return it
}
const ids = (nodes: TreeNode[]) => nodes.map((node) => node.id).join(' ')

// q1 ─ a1 ─ q2 ─ a2        an edit of q2 made q3 ─ a3 and a4 (asked again)
//           └ q3 ─ a3, a4
const edited = () => tree(['q1', null], ['a1', 'q1'], ['q2', 'a1'], ['a2', 'q2'], ['q3', 'a1'], ['a3', 'q3'], ['a4', 'q3'])

describe('the branch shown', () => {
  it('goes through the head, up and down', () => {
    expect(ids(edited().branch('a2'))).toBe('q1 a1 q2 a2')
    expect(ids(edited().branch('a3'))).toBe('q1 a1 q3 a3')
    expect(ids(edited().branch('q3'))).toBe('q1 a1 q3 a4')
  })
  it('is the newest one without a head, or with one that is gone', () => {
    expect(ids(edited().branch(null))).toBe('q1 a1 q3 a4')
    expect(ids(edited().branch('gone'))).toBe('q1 a1 q3 a4')
    expect(ids(tree().branch(null))).toBe('')
  })
  it('shows the newest of several first messages', () => {
    expect(ids(tree(['q1', null], ['a1', 'q1'], ['q2', null]).branch(null))).toBe('q2')
  })
  it('begins at a message whose parent is not there', () => {
    expect(ids(tree(['a1', 'lost'], ['q2', 'a1']).branch('q2'))).toBe('a1 q2')
  })
  it('ends even when parents go in a circle', () => {
    expect(tree(['a', 'b'], ['b', 'a']).branch('a').length).toBe(2)
  })
})

describe('siblings', () => {
  it('are in the order they were made', () => {
    expect(edited().siblings('a4')).toEqual(['a3', 'a4'])
    expect(edited().siblings('q2')).toEqual(['q2', 'q3'])
    expect(edited().siblings('gone')).toEqual([])
  })
  it('keep their places when one is put again, and close up when one goes', () => {
    const it = edited()
    it.put({ id: 'q2', parent: 'a1', created: 99 })
    expect(it.siblings('q3')).toEqual(['q2', 'q3'])
    it.remove('q2')
    expect(it.siblings('q3')).toEqual(['q3'])
    expect(it.size).toBe(6)
  })
  it('follow a message to another parent', () => {
    const it = edited()
    it.put({ id: 'a4', parent: 'q2', created: 6 })
    expect(it.siblings('a3')).toEqual(['a3'])
    expect(it.siblings('a2')).toEqual(['a2', 'a4'])
  })
})
