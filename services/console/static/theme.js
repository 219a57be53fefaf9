// Before the first paint: the theme that was chosen, if one was.
(() => {
  try {
    const chosen = localStorage.getItem("headrace-theme");
    if (chosen) document.documentElement.dataset.theme = chosen;
  } catch { /* storage is off: the system's theme it is */ }
})();
