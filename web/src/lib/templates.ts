/** Tasks that people make: what their prompts ask for, and how they travel as files. */
import type { Template, TemplateField, TemplateFields } from '../api/types'

/** The names in {{ }} of a prompt, in order, each once. */
export function namesOf(prompt: string): string[] {
  return [...new Set([...prompt.matchAll(/\{\{\s*([^{}]+?)\s*\}\}/g)].map((match) => match[1] as string))]
}

/** Fields as the prompt has them: those that are there stay as they are, new names get one, others go. */
export function fieldsFor(prompt: string, fields: TemplateField[]): TemplateField[] {
  return namesOf(prompt).map((name) => fields.find((field) => field.name === name) ?? { name, type: 'text', required: true })
}

export function blank(): TemplateFields {
  return { name: '', description: '', system: '', prompt: '', fields: [], examples: [], language: '', length: null, mode: 'each', params: {} }
}

/** What is sent and exported: without what the server adds. */
export function bare(template: Template | TemplateFields): TemplateFields {
  const { name, prompt, fields, description = '', system = '', examples = [], language = '', length = null, mode = 'each', params = {} } = template
  return { name, description, system, prompt, fields, examples, language, length, mode, params }
}

export function exported(templates: Template[]): Blob {
  return new Blob([JSON.stringify({ sampan: 'templates', templates: templates.map(bare) }, null, 2)], { type: 'application/json' })
}

/** Of a file that was exported, or of one template. Throws when it is neither. */
export function imported(text: string): TemplateFields[] {
  const data = JSON.parse(text) as { templates?: unknown; name?: unknown; prompt?: unknown }
  const list = Array.isArray(data.templates) ? data.templates : [data]
  return list.map((entry) => {
    const template = entry as Partial<Template>
    if (typeof template.name !== 'string' || typeof template.prompt !== 'string') throw new SyntaxError('no name or prompt')
    return bare({ ...blank(), ...template, fields: template.fields ?? fieldsFor(template.prompt, []) })
  })
}
