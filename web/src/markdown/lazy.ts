/** Highlighting and formulas come when the first answer needs them; what was rendered without is rendered again then. */
import { shallowRef } from 'vue'

interface Highlighter {
  highlight(code: string, language: string): string | null
}
interface Formulas {
  render(tex: string, display: boolean): string
}

const CODE_MAX = 16_000 // characters; more would stop the page for too long

/** Counts up when one of them has come. */
export const arrivals = shallowRef(0)

let highlighter: Highlighter | null = null
let formulas: Formulas | null = null
const asked = { code: false, math: false }
let without = 0 // times that one of them was wanted before it had come

/** Whether rendering wanted what hasn't come yet. */
export function lacking(render: () => void): boolean {
  const before = without
  render()
  return without > before
}

export function highlighted(code: string, language: string): string | null {
  if (!language || code.length > CODE_MAX) return null
  if (highlighter) return highlighter.highlight(code, language)
  without++
  if (!asked.code) {
    asked.code = true
    import('./highlight').then(
      (module) => {
        highlighter = module
        arrivals.value++
      },
      () => (asked.code = false),
    )
  }
  return null
}

export function formula(tex: string, display: boolean): string | null {
  if (formulas) return formulas.render(tex, display)
  without++
  if (!asked.math) {
    asked.math = true
    import('./formulas').then(
      (module) => {
        formulas = module
        arrivals.value++
      },
      () => (asked.math = false),
    )
  }
  return null
}
