// Light or dark: the system decides until the visitor does.
import { html, useEffect, useState } from "./html.js";
import { Icon } from "./icons.js";

const system = matchMedia("(prefers-color-scheme: dark)");
const shown = () => document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light");

export function ThemeButton() {
  const [theme, setTheme] = useState(shown);
  useEffect(() => {
    const follow = () => setTheme(shown());
    system.addEventListener("change", follow);
    return () => system.removeEventListener("change", follow);
  }, []);
  const other = theme === "dark" ? "light" : "dark";
  const turn = () => {
    document.documentElement.dataset.theme = other;
    setTheme(other);
    dispatchEvent(new Event("metakg:theme"));
    try {
      localStorage.setItem("metakg.theme", other);
    } catch (error) {
      console.info("The theme is not remembered: this browser keeps nothing for this page.", error.name);
    }
  };
  return html`
    <button type="button" class="round" aria-label=${`Use the ${other} theme`} title=${`Use the ${other} theme`} onClick=${turn}>
      <${Icon} name=${theme === "dark" ? "sun" : "moon"} />
    </button>`;
}
