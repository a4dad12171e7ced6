// One polite live region for the whole page: two of them would talk over each other.
import { html, useEffect, useState } from "./html.js";

export const announce = (text) => dispatchEvent(new CustomEvent("metakg:say", { detail: text }));

export function Announcer() {
  const [text, setText] = useState("");
  useEffect(() => {
    const hear = (event) => setText(event.detail);
    addEventListener("metakg:say", hear);
    return () => removeEventListener("metakg:say", hear);
  }, []);
  return html`<div class="unseen" role="status" aria-live="polite">${text}</div>`;
}
