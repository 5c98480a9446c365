import type { Params } from '../api/types'

export interface BuiltinPreset {
  name: 'precise' | 'creative' | 'translator' | 'coder'
  system: string
  params: Params
}

/** Both languages in one prompt: the model answers in the one it is asked in. */
export const BUILTIN_PRESETS: BuiltinPreset[] = [
  { name: 'precise', system: '', params: { temperature: 0.2, top_p: 0.9 } },
  { name: 'creative', system: '', params: { temperature: 1.1, top_p: 0.95, min_p: 0.05 } },
  {
    name: 'translator',
    system: 'Translate Chinese into English and anything else into Chinese. Answer with the translation only. 把中文译成英文，把其他语言译成中文，只输出译文。',
    params: { temperature: 0.3 },
  },
  {
    name: 'coder',
    system: 'You are an experienced programmer. Answer briefly, with complete code that runs. 你是经验丰富的程序员，回答简洁，给出可运行的完整代码。',
    params: { temperature: 0.2 },
  },
]

/** How the fields are asked for: limits and steps. */
export const FIELDS = [
  { name: 'temperature', min: 0, max: 100, step: 0.1 },
  { name: 'top_p', min: 0, max: 1, step: 0.05 },
  { name: 'top_k', min: -1, max: 1_000_000, step: 1 },
  { name: 'min_p', min: 0, max: 1, step: 0.01 },
  { name: 'max_tokens', min: 1, max: 2_147_483_647, step: 64 },
  { name: 'seed', min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 },
  { name: 'repetition_penalty', min: 0.01, max: 100, step: 0.05 },
  { name: 'presence_penalty', min: -2, max: 2, step: 0.1 },
  { name: 'frequency_penalty', min: -2, max: 2, step: 0.1 },
] as const
