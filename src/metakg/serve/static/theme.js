// Runs before the first paint, so that a chosen theme never flashes in the other one. Without a choice the system decides.
try {
  const chosen = localStorage.getItem("metakg.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch (error) {
  console.info("The theme is not remembered: this browser keeps nothing for this page.", error.name);
}
