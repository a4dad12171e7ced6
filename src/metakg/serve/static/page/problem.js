// What went wrong, in words, with what to do.
import { html, useEffect, useState } from "./html.js";
import { Icon } from "./icons.js";

const ADVICE = {
  offline: "Check that the server runs and that you are online.",
  timeout: "It may be busy; try again in a moment.",
  key: "Enter the key you were given; it is kept only until this tab closes.",
  role: "Adding and removing needs a key with the role “write”.",
  busy: "Nothing is lost; wait a moment.",
  starting: "It will be in a moment.",
  refused: "Change it and try again.",
  missing: "It may have been removed.",
  server: "Try again; if it stays, the server's log says more.",
};

export const openKeyDialog = () => dispatchEvent(new Event("metakg:ask-key"));

/** An error where its answer would have stood. `retry` asks again; `nextTry` counts down to when the page does so itself. */
export function Trouble({ problem, retry, nextTry = null, busy = false }) {
  return html`
    <div class="trouble" role="alert">
      <${Icon} name="warning" />
      <div>
        <p class="trouble-head">${problem.message}</p>
        <p>${problem.detail} ${ADVICE[problem.kind]}</p>
        ${problem.field && html`<p>Field: <code>${problem.field}</code></p>`}
        <p class="row">
          ${["key", "role"].includes(problem.kind)
            ? html`<button type="button" class="button" onClick=${openKeyDialog}>Enter a key</button>`
            : retry && html`<button type="button" class="button" onClick=${retry} disabled=${busy}>Try again</button>`}
          ${nextTry !== null && html`<${Countdown} until=${nextTry} />`}
        </p>
      </div>
    </div>`;
}

/** For the eye only: read aloud every second it would be torture. */
function Countdown({ until }) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const clock = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(clock);
  }, []);
  const seconds = Math.max(0, Math.ceil((until - now) / 1000));
  return html`<span class="quiet" aria-hidden="true">${seconds > 0 ? `Trying again in ${seconds} s` : "Trying again …"}</span>`;
}
