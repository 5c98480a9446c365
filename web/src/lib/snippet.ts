export interface Part {
  text: string
  match: boolean
}

/** A search hit's excerpt in parts; matches lie between U+0002 and U+0003. */
export function snippetParts(snippet: string): Part[] {
  const parts: Part[] = []
  let match = false
  for (const piece of snippet.split(/([\u0002\u0003])/)) {
    if (piece === '\u0002') match = true
    else if (piece === '\u0003') match = false
    else if (piece) parts.push({ text: piece, match })
  }
  return parts
}
