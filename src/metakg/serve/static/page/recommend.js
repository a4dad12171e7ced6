// The first view: pick a few things, see what follows, and ask why.
import { Around } from "./around.js";
import { Combobox } from "./combobox.js";
import { html, useRef } from "./html.js";
import { Icon } from "./icons.js";
import { Results } from "./results.js";

export function Recommend({ liked, disliked, lost, onPick, onDrop, onClear }) {
  const taken = [...liked, ...disliked].map(({ id }) => id);
  return html`
    <div class="hero">
      <h1 tabindex="-1">Pick a few things you like.</h1>
      <p>The recommendations follow from the first click, and every one of them can say why.</p>
    </div>
    <div class="split">
      <section class="picks card" aria-labelledby="picks-head">
        <h2 id="picks-head">Your picks</h2>
        <${Combobox} label="Search by name" kind="item" taken=${taken} placeholder="Start typing a name" onPick=${(item) => onPick("like", item)} />
        ${lost.length > 0 && html`<p class="notice">Not known here any more, so left out: ${lost.join(", ")}.</p>`}
        <${Chips} title="Liked" kind="like" items=${liked} onDrop=${onDrop} empty="Nothing yet. Search, or press a heart in the list." />
        ${disliked.length > 0 && html`<${Chips} title="Not for me" kind="dislike" items=${disliked} onDrop=${onDrop} />`}
        ${taken.length > 0 && html`<button type="button" class="button plain" onClick=${onClear}>Start over</button>`}
      </section>
      <${Results} liked=${liked} disliked=${disliked} onPick=${onPick} />
      <${Around} liked=${liked} />
    </div>`;
}

function Chips({ title, kind, items, onDrop, empty }) {
  const group = useRef(null);
  const drop = (id, place) => {
    onDrop(id);
    // The button goes with its chip: hand the focus to a neighbour, else to the search field.
    requestAnimationFrame(() => {
      const rest = group.current?.querySelectorAll("button") ?? [];
      (rest[Math.min(place, rest.length - 1)] ?? document.querySelector(".picks input"))?.focus();
    });
  };
  return html`
    <div class="chip-group" ref=${group}>
      <h3>${title}</h3>
      ${items.length === 0
        ? html`<p class="quiet">${empty}</p>`
        : html`<ul class="chips">${items.map(({ id, label }, place) => html`
            <li key=${id} class=${`chip ${kind}`}>
              <${Icon} name=${kind} /><span>${label ?? id}</span>
              <button type="button" aria-label=${`Take back ${label ?? id}`} onClick=${() => drop(id, place)}><${Icon} name="close" /></button>
            </li>`)}</ul>`}
    </div>`;
}
