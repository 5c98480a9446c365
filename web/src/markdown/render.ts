/** Markdown as HTML (still to be cleaned), with code blocks that can be copied and formulas. */
import MarkdownIt from 'markdown-it'
import { formula, highlighted } from './lazy'
import { math } from './math'

export const md = new MarkdownIt({ html: false, linkify: true, breaks: true, typographer: false })
const escape = md.utils.escapeHtml

md.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false })

export function languageOf(info: string): string {
  return (info.trim().split(/\s+/)[0] ?? '').toLowerCase()
}

md.renderer.rules.fence = (tokens, index) => {
  const token = tokens[index]
  if (!token) return ''
  const language = languageOf(token.info)
  const code = highlighted(token.content, language) ?? escape(token.content)
  return (
    `<div class="code"><div class="code-head"><span>${escape(language)}</span>` +
    `<button type="button" data-copy="code"></button></div><pre tabindex="0"><code>${code}</code></pre></div>\n`
  )
}
md.renderer.rules.code_block = md.renderer.rules.fence

// A picture is shown when it lies in the text itself; any other is a link, so that nothing is fetched by reading.
md.renderer.rules.image = (tokens, index, options, env, self) => {
  const token = tokens[index]
  const src = String(token?.attrGet('src') ?? '')
  const alt = token ? self.renderInlineAsText(token.children ?? [], options, env) : ''
  if (/^data:image\//i.test(src)) return `<img src="${escape(src)}" alt="${escape(alt)}">`
  return `<a href="${escape(src)}">${escape(alt || src)}</a>`
}
md.renderer.rules.table_open = () => '<div class="table" tabindex="0"><table>\n'
md.renderer.rules.table_close = () => '</table></div>\n'

math(md, (tex, display) => {
  const html = formula(tex, display) ?? `<code>${escape(tex)}</code>`
  return display ? `<div class="formula">${html}</div>` : html
})
