import katex from 'katex'
import 'katex/dist/katex.min.css'

/** A formula as HTML and MathML; a mistake in it shows the source in red instead. */
export function render(tex: string, display: boolean): string {
  return katex.renderToString(tex, { displayMode: display, throwOnError: false, trust: false, strict: 'ignore', maxSize: 30, maxExpand: 300 })
}
