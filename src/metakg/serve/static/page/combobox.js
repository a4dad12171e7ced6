// Search as you type: the combobox with a list box of the WAI-ARIA Authoring Practices (list autocomplete, manual selection).
import { announce } from "./announce.js";
import { useAnswer } from "./answer.js";
import { ask } from "./api.js";
import { html, useEffect, useId, useRef, useState } from "./html.js";
import { Icon } from "./icons.js";
import { Trouble } from "./problem.js";
import { many } from "./words.js";

const REST_MS = 140;
const MOST = 50; // results that the server gives at once

/**
 * A search field with its results.
 *
 * @param kind what to search: item, entity, relation.
 * @param taken ids that are left out of the results.
 * @param suggestions [{id, label}] shown while nothing is typed.
 * @param chosen label of what is chosen, shown in the field; leave out where a choice empties the field.
 * @param onPick called with {id, label}.
 * @param onClear called when the text of a choice is changed.
 */
export function Combobox({ label, hint, kind, taken = [], suggestions = [], chosen = null, placeholder = "", onPick, onClear }) {
  const id = useId();
  const [text, setText] = useState("");
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const list = useRef(null);
  const input = useRef(null);

  const wanted = text.trim();
  const asking = open && wanted !== "";
  const search = (signal) => ask("GET", ["search"], { query: { q: wanted, kind, limit: Math.min(MOST, 10 + taken.length) }, signal });
  const answer = useAnswer(asking ? search : null, [wanted, kind], { delayMs: REST_MS });
  const offered = asking ? (answer.data?.results ?? []) : open && chosen === null ? suggestions : [];
  const found = offered.filter((hit) => !taken.includes(hit.id)).slice(0, 10);
  const fresh = asking && !answer.busy && !answer.problem;

  useEffect(() => {
    setActive(-1);
    if (fresh) announce(found.length === 0 ? `Nothing found for ${wanted}` : many(found.length, "result"));
  }, [answer.data, fresh]);

  useEffect(() => {
    list.current?.children[active]?.scrollIntoView({ block: "nearest" });
  }, [active]);

  // The button that was pressed goes away with the error: the focus returns to the text.
  const retry = () => {
    input.current.focus();
    answer.retry();
  };
  const pick = (hit) => {
    setText("");
    setOpen(false);
    setActive(-1);
    onPick({ id: hit.id, label: hit.label });
  };
  const onInput = (event) => {
    if (chosen !== null) onClear?.();
    setText(event.target.value);
    setOpen(true);
  };
  const onKeyDown = (event) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!open) setOpen(true);
      if (found.length === 0) return;
      const step = event.key === "ArrowDown" ? 1 : -1;
      // One place more than there are results: the text itself, where nothing is marked.
      setActive((place) => ((place + 1 + step + found.length + 1) % (found.length + 1)) - 1);
    } else if (event.key === "Enter") {
      event.preventDefault();
      const hit = found[active] ?? (asking && found.length === 1 ? found[0] : null);
      if (hit && (fresh || !asking)) pick(hit);
    } else if (event.key === "Escape") {
      if (!open || (wanted === "" && found.length === 0)) {
        setText("");
        if (chosen !== null) onClear?.();
      }
      setOpen(false);
      setActive(-1);
    }
  };

  const listed = found.length > 0;
  return html`
    <div class="combobox" onFocusOut=${(event) => event.currentTarget.contains(event.relatedTarget) || setOpen(false)}>
      <label for=${id}>${label}</label>
      <div class="field">
        <${Icon} name="search" />
        <input
          ref=${input} id=${id} type="text" role="combobox" autocomplete="off" autocapitalize="off" spellcheck=${false} enterkeyhint="search"
          aria-expanded=${listed ? "true" : "false"} aria-controls=${`${id}-list`} aria-autocomplete="list"
          aria-activedescendant=${active >= 0 ? `${id}-${active}` : undefined} aria-describedby=${hint ? `${id}-hint` : undefined}
          placeholder=${placeholder} value=${chosen ?? text}
          onInput=${onInput} onKeyDown=${onKeyDown} onFocus=${() => setOpen(true)} />
        ${asking && answer.busy && html`<span class="spinner" aria-hidden="true"></span>`}
      </div>
      ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
      <div class="popup" hidden=${!listed && !(asking && (fresh || answer.problem))} onPointerDown=${(event) => event.preventDefault()}>
        ${asking && answer.problem && html`<${Trouble} ...${answer} retry=${retry} />`}
        <ul id=${`${id}-list`} role="listbox" tabindex="-1" aria-label=${label} ref=${list} hidden=${!listed}>
          ${found.map((hit, place) => html`
            <li key=${hit.id} id=${`${id}-${place}`} role="option" aria-selected=${place === active ? "true" : "false"}
              onPointerMove=${() => setActive(place)} onClick=${() => pick(hit)}>
              <${Marked} text=${hit.label} part=${wanted} />
            </li>`)}
        </ul>
        ${fresh && !listed && html`<p class="nothing">Nothing here is called “${wanted}”.</p>`}
      </div>
    </div>`;
}

/** A label with the searched part set off, where it stands in it as typed. */
function Marked({ text, part }) {
  const at = part === "" ? -1 : text.toLowerCase().indexOf(part.toLowerCase());
  if (at < 0 || text.toLowerCase().length !== text.length) return html`<span>${text}</span>`;
  return html`<span>${text.slice(0, at)}<mark>${text.slice(at, at + part.length)}</mark>${text.slice(at + part.length)}</span>`;
}
