/** Languages by their own names: what a model is told, and what is shown. */
export const LANGUAGES = ['中文', 'English', '日本語', '한국어', 'Français', 'Deutsch', 'Español', 'Русский', 'العربية', 'Português', 'Italiano', 'Tiếng Việt']
