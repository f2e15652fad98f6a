// Runs before the first paint, so that a chosen theme does not flash the other one.
try {
  var theme = localStorage.getItem('forewarn.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch (e) {
  // Storage may be blocked: then the system's choice stands.
}
