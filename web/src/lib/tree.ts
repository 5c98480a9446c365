/** A chat is a tree: editing and asking again make siblings, and one branch at a time is shown. */

export interface TreeNode {
  id: string
  parent: string | null
  created: number
}

export class Tree<T extends TreeNode> {
  private nodes = new Map<string, T>()
  private kids = new Map<string | null, string[]>()

  get size(): number {
    return this.nodes.size
  }

  get(id: string | null): T | undefined {
    return id === null ? undefined : this.nodes.get(id)
  }

  all(): IterableIterator<T> {
    return this.nodes.values()
  }

  /** A node whose id is known takes the old one's place. */
  put(node: T): void {
    const old = this.nodes.get(node.id)
    this.nodes.set(node.id, node)
    if (old && old.parent === node.parent) return
    if (old) this.unlink(old)
    const siblings = this.kids.get(node.parent)
    if (siblings) siblings.push(node.id)
    else this.kids.set(node.parent, [node.id])
  }

  remove(id: string): void {
    const node = this.nodes.get(id)
    if (!node) return
    this.nodes.delete(id)
    this.unlink(node)
  }

  /** In the order they were made. */
  children(id: string | null): readonly string[] {
    return this.kids.get(id) ?? []
  }

  siblings(id: string): readonly string[] {
    const node = this.nodes.get(id)
    return node ? this.children(node.parent) : []
  }

  /** Down from a node by the newest child each time. */
  leaf(id: string): string {
    let at = id
    for (let steps = 0; steps <= this.nodes.size; steps++) {
      const next = this.children(at).at(-1)
      if (next === undefined) return at
      at = next
    }
    return at
  }

  /** The branch through `head`, first message first: up to the root, and down to the newest answer. */
  branch(head: string | null): T[] {
    const start = head !== null && this.nodes.has(head) ? head : this.newestRoot()
    if (start === undefined) return []
    const up: T[] = []
    const seen = new Set<string>()
    for (let at = this.nodes.get(this.leaf(start)); at && !seen.has(at.id); at = at.parent === null ? undefined : this.nodes.get(at.parent)) {
      seen.add(at.id)
      up.push(at)
    }
    return up.reverse()
  }

  private newestRoot(): string | undefined {
    return this.children(null).at(-1) ?? this.nodes.keys().next().value
  }

  private unlink(node: T): void {
    const siblings = this.kids.get(node.parent)
    const at = siblings?.indexOf(node.id) ?? -1
    if (siblings && at >= 0) siblings.splice(at, 1)
  }
}
