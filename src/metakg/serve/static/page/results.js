// The recommendations: they follow the picks, each with the way it was made and a reason.
import { announce } from "./announce.js";
import { useAnswer } from "./answer.js";
import { ask } from "./api.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { Icon } from "./icons.js";
import { Trouble } from "./problem.js";
import { many, oneLine, WAYS } from "./words.js";
import { Why } from "./why.js";

const SHOWN = 10;
const REST_MS = 120;

export function Results({ liked, disliked, onPick }) {
  const body = { liked: liked.map(({ id }) => id), disliked: disliked.map(({ id }) => id), n: SHOWN, explain: true };
  const answer = useAnswer(
    (signal) => ask("POST", ["session", "recommend"], { body, signal }), [JSON.stringify(body)], { delayMs: REST_MS });
  const items = answer.data?.items ?? null;
  const [opened, setOpened] = useState(null);
  const list = useRef(null);
  const leaving = useRef(null); // where the focus was when its row was picked away
  useGliding(list, items);

  useEffect(() => {
    if (items === null) return;
    const [first] = items;
    announce(first ? `${many(items.length, "recommendation")}, ${WAYS[answer.data.way]?.name ?? answer.data.way}. First: ${first.label}.` : "Nothing is left to recommend.");
  }, [answer.data]);

  useLayoutEffect(() => {
    if (leaving.current === null || answer.busy) return;
    const { place, kind } = leaving.current;
    leaving.current = null;
    if (document.activeElement !== document.body) return;
    const rows = list.current?.querySelectorAll(`[data-act="${kind}"]`) ?? [];
    rows[Math.min(place, rows.length - 1)]?.focus({ preventScroll: true });
  }, [answer.data, answer.busy]);

  const pick = (entry, place, kind) => {
    leaving.current = { place, kind };
    onPick(kind, { id: entry.item, label: entry.label });
  };
  const picked = new Set([...liked, ...disliked].map(({ id }) => id));
  const way = answer.data && (WAYS[answer.data.way] ?? { name: answer.data.way, about: "" });

  return html`
    <section class="results" aria-labelledby="results-head" aria-busy=${answer.busy ? "true" : "false"}>
      <header class="section-head">
        <h2 id="results-head">${liked.length + disliked.length > 0 ? "Recommended for you" : "To begin with"}</h2>
        <p class="quiet">${way ? way.about : answer.problem ? "" : "One moment …"}</p>
      </header>
      ${answer.problem && html`<${Trouble} ...${answer} />`}
      ${items?.length === 0 && html`<p class="nothing">Nothing is left to recommend. Take a pick back, and there will be.</p>`}
      <ol class="list" ref=${list}>
        ${items === null && !answer.problem && Array.from({ length: SHOWN }, (_, place) => html`<li key=${`wait ${place}`} class="card row-card ghost" aria-hidden="true"></li>`)}
        ${items?.map((entry, place) => html`
          <${Row} key=${entry.item} entry=${entry} place=${place} gone=${picked.has(entry.item)} liked=${liked} disliked=${disliked}
            open=${opened === entry.item} onOpen=${() => setOpened(opened === entry.item ? null : entry.item)}
            onPick=${(kind) => pick(entry, place, kind)} />`)}
      </ol>
    </section>`;
}

function Row({ entry, place, gone, liked, disliked, open, onOpen, onPick }) {
  const way = WAYS[entry.way] ?? { name: entry.way, about: "", short: "" };
  const reason = entry.reasons?.[0];
  const panel = `why-${place}`;
  return html`
    <li class=${`card row-card ${gone ? "gone" : ""}`} data-item=${entry.item}>
      <div class="result">
        <span class="place" aria-hidden="true">${place + 1}</span>
        <div class="about">
          <div class="title"><h3>${entry.label}</h3><span class=${`way ${entry.way}`} title=${way.about}>${way.name}</span></div>
          <p class="reason">${reason ? oneLine(reason.path) : way.short}</p>
        </div>
        <div class="actions">
          <button type="button" class="button plain" aria-expanded=${open ? "true" : "false"} aria-controls=${panel} onClick=${onOpen}>
            Why this?<span class="unseen"> ${entry.label}</span><${Icon} name="down" />
          </button>
          <button type="button" class="round like" data-act="like" disabled=${gone} aria-label=${`Like ${entry.label}`} title="Like" onClick=${() => onPick("like")}><${Icon} name="like" /></button>
          <button type="button" class="round dislike" data-act="dislike" disabled=${gone} aria-label=${`Not for me: ${entry.label}`} title="Not for me" onClick=${() => onPick("dislike")}><${Icon} name="dislike" /></button>
        </div>
      </div>
      <div id=${panel} role="region" aria-label=${`Why ${entry.label}`} hidden=${!open}>
        ${open && html`<${Why} item=${entry.item} label=${entry.label} liked=${liked} disliked=${disliked} />`}
      </div>
    </li>`;
}

/** Let rows glide to their new places, so that the eye can follow what a click changed; not where motion is unwelcome. */
function useGliding(list, items) {
  const tops = useRef(new Map());
  useLayoutEffect(() => {
    const before = tops.current;
    const now = new Map();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const rows = list.current?.querySelectorAll("[data-item]") ?? [];
    for (const row of rows) {
      const top = row.offsetTop;
      now.set(row.dataset.item, top);
      if (still || before.size === 0) continue;
      const old = before.get(row.dataset.item);
      const frames = old === undefined ? [{ opacity: 0 }, { opacity: 1 }] : [{ transform: `translateY(${old - top}px)` }, { transform: "none" }];
      if (old !== top) row.animate(frames, { duration: 260, easing: "cubic-bezier(.2,.7,.2,1)" });
    }
    tops.current = now;
  }, [items]);
}
