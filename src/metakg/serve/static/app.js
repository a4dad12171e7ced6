// The page: a frame with three views. Everything it knows comes from /api, and its state stands in the address.
import { Announcer, announce } from "./page/announce.js";
import { ask, Problem } from "./page/api.js";
import { html, render, useEffect, useErrorBoundary, useReducer, useRef, useState } from "./page/html.js";
import { Mark } from "./page/icons.js";
import { KeyButton } from "./page/key.js";
import { Model } from "./page/model.js";
import { NewItem } from "./page/newitem.js";
import { Recommend } from "./page/recommend.js";
import { address, readAddress, useAddress } from "./page/route.js";
import { ThemeButton } from "./page/theme.js";

const TABS = { recommend: "Recommend", new: "New item", model: "Model and health" };

function App() {
  const { view, liked, disliked } = useAddress();
  const { named, lost, learn } = useLabels([...liked, ...disliked]);
  const [broken] = useErrorBoundary();
  const body = useRef(null);
  const first = useRef(true);

  useEffect(() => {
    document.title = `${TABS[view]} · metakg`;
    if (!first.current) body.current?.querySelector("h1")?.focus({ preventScroll: true });
    if (!first.current) scrollTo(0, 0);
    first.current = false;
  }, [view]);

  const picks = { liked: named(liked), disliked: named(disliked) };
  const go = (nextView, nextLiked, nextDisliked) => {
    const next = address(nextView, nextLiked, nextDisliked);
    // Another view is a step to come back from; another pick is not.
    history[nextView === view ? "replaceState" : "pushState"](null, "", next);
    dispatchEvent(new HashChangeEvent("hashchange"));
  };
  // The address is read again at each click: several may come before the page is drawn anew.
  const change = (id, kind) => {
    const now = readAddress();
    const rest = { like: now.liked.filter((other) => other !== id), dislike: now.disliked.filter((other) => other !== id) };
    if (kind) rest[kind].push(id);
    go("recommend", named(rest.like), named(rest.dislike));
  };
  const pick = (kind, item) => {
    learn(item.id, item.label);
    announce(kind === "like" ? `Liked ${item.label}` : `Not for you: ${item.label}`);
    change(item.id, kind);
  };

  const views = {
    recommend: () => html`<${Recommend} ...${picks} lost=${lost} onPick=${pick} onDrop=${(id) => change(id, null)} onClear=${() => go("recommend", [], [])} />`,
    new: () => html`<${NewItem} onPick=${pick} />`,
    model: () => html`<${Model} />`,
  };
  return html`
    <a class="skip" href="#content" onClick=${(event) => {
      event.preventDefault();
      body.current.querySelector("h1").focus();
    }}>Skip to content</a>
    <header class="top">
      <a class="brand" href=${address("recommend", picks.liked, picks.disliked)} aria-label="metakg, start"><${Mark} /><span>metakg</span></a>
      <nav aria-label="Views"><ul>
        ${Object.entries(TABS).map(([name, text]) => html`
          <li key=${name}><a href=${address(name, picks.liked, picks.disliked)} aria-current=${name === view ? "page" : undefined}>${text}</a></li>`)}
      </ul></nav>
      <div class="tools"><${KeyButton} /><${ThemeButton} /></div>
    </header>
    <main id="content" ref=${body}>
      ${broken
        ? html`<div class="hero"><h1 tabindex="-1">The page made a mistake.</h1><p role="alert">Load it again; what you picked stands in the address and is not lost.</p></div>`
        : views[view]()}
    </main>
    <footer class="foot"><p>Answers come from this server alone. <a href="api/docs">Its interface</a></p></footer>
    <${Announcer} />`;
}

/** Names for ids that came with the address; `lost` are those that the server does not know. */
function useLabels(ids) {
  const labels = useRef(new Map());
  const [, redraw] = useState(0);
  const [lost, setLost] = useState([]);
  const [round, again] = useReducer((number) => number + 1, 0);
  const unknown = ids.filter((id) => !labels.current.has(id));
  useEffect(() => {
    if (unknown.length === 0) return undefined;
    const mine = new AbortController();
    let timer = 0;
    const find = async (id) => {
      try {
        const found = await ask("GET", ["items", id], { signal: mine.signal });
        labels.current.set(id, found.label);
      } catch (error) {
        if (mine.signal.aborted) return;
        if (!(error instanceof Problem)) throw error;
        // Any other problem is shown by the view that needs the same server; the id stands in for the name.
        if (error.kind === "missing") setLost((old) => [...new Set([...old, id])]);
        else if (error.again) timer ||= setTimeout(again, 1000 * Math.min(error.retryAfterS ?? 4, 30));
      }
    };
    Promise.all(unknown.map(find)).then(() => redraw((number) => number + 1));
    addEventListener("metakg:key", again, { signal: mine.signal }); // another key may be told what this one is not
    return () => {
      mine.abort();
      clearTimeout(timer);
    };
  }, [unknown.join("\n"), round]);
  return {
    named: (some) => some.filter((id) => !lost.includes(id)).map((id) => ({ id, label: labels.current.get(id) ?? id })),
    lost,
    learn: (id, label) => {
      labels.current.set(id, label);
      setLost((old) => old.filter((other) => other !== id));
    },
  };
}

render(html`<${App} />`, document.getElementById("app"));
