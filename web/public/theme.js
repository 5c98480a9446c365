// Before the first paint: the theme and language chosen earlier, so that nothing flashes.
try {
  const chosen = JSON.parse(localStorage.getItem("sampan.settings") || "{}");
  if (chosen.theme === "dark" || chosen.theme === "light") document.documentElement.dataset.theme = chosen.theme;
} catch {
  // Storage switched off: the system's theme.
}
