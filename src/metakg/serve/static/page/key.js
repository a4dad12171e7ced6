// The dialog for the key, and the button that opens it.
import { announce } from "./announce.js";
import { key } from "./api.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { Icon } from "./icons.js";

export function KeyButton() {
  const dialog = useRef(null);
  const [set, setSet] = useState(key.value !== "");
  const [text, setText] = useState("");
  const [odd, setOdd] = useState(false);
  const open = () => {
    setText("");
    setOdd(false);
    dialog.current.showModal();
  };
  useEffect(() => {
    addEventListener("metakg:ask-key", open);
    return () => removeEventListener("metakg:ask-key", open);
  }, []);
  const keep = (value) => {
    key.value = value;
    setSet(value !== "");
    dialog.current.close();
    announce(value ? "The key is set." : "The key is forgotten.");
  };
  return html`
    <button type="button" class="round" aria-label=${set ? "Key (set)" : "Key"} title=${set ? "A key is set" : "Enter a key"} onClick=${open}>
      <${Icon} name="key" />${set && html`<span class="dot" aria-hidden="true"></span>`}
    </button>
    <dialog ref=${dialog} aria-labelledby="key-head">
      <form method="dialog" onSubmit=${(event) => {
        event.preventDefault();
        const plain = /^[\x21-\x7e]+$/.test(text.trim()); // what a header can carry
        setOdd(!plain);
        if (plain) keep(text.trim());
      }}>
        <h2 id="key-head">Key for this server</h2>
        <p class="quiet" id="key-hint">Some servers ask for one. It is kept until this tab closes and sent to this server only.</p>
        <label for="key-text">Key</label>
        <div class="field"><input id="key-text" type="password" autocomplete="off" spellcheck=${false} aria-describedby="key-hint" value=${text} onInput=${(event) => setText(event.target.value)} /></div>
        ${odd && html`<p role="alert">No key has such characters. Some programs put others in the place of hyphens or add invisible ones when a text is copied.</p>`}
        <p class="row">
          <button type="submit" class="button strong" disabled=${text.trim() === ""}>Use it</button>
          ${set && html`<button type="button" class="button" onClick=${() => keep("")}>Forget the present key</button>`}
          <button type="button" class="button plain" onClick=${() => dialog.current.close()}>Cancel</button>
        </p>
      </form>
    </dialog>`;
}
