// A small picture of a graph: Cytoscape draws, dagre lays out. Both are loaded with the first picture, not with the page.
import { html, useEffect, useRef, useState } from "./html.js";

const FONT = '13px "Inter", system-ui, sans-serif';
const LINE = 17;
const WIDEST = 168; // of a label, before it is broken into lines
const PAD = 12;
const SMALLEST = 0.72; // below this zoom a label cannot be read; the picture then turns upright

let library = null;

/** Cytoscape with its layout, loaded once; the fonts too, as labels are measured before they are drawn. */
function load() {
  library ??= Promise.all([
    import("../vendor/cytoscape.mjs"), import("../vendor/cytoscape-dagre.mjs"), document.fonts.load(FONT),
  ]).then(([{ default: cytoscape }, { default: dagre }]) => {
    cytoscape.use(dagre);
    return cytoscape;
  });
  library.catch(() => (library = null)); // a broken connection may be whole again next time
  return library;
}

const ruler = document.createElement("canvas").getContext("2d");

/** Break a label at its spaces; the last line that fits nothing more ends in an ellipsis. */
function fold(text, widest, lines = 3) {
  ruler.font = FONT;
  const width = (part) => ruler.measureText(part).width;
  const done = [""];
  for (const word of text.split(/\s+/)) {
    const longer = done.at(-1) ? `${done.at(-1)} ${word}` : word;
    if (width(longer) <= widest || done.at(-1) === "") done[done.length - 1] = longer;
    else done.push(word);
  }
  const kept = done.slice(0, lines);
  if (done.length > lines) kept[lines - 1] += " …";
  const fitted = kept.map((line) => {
    let short = line;
    while (width(short) > widest + 24 && short.length > 4) short = `${short.slice(0, -2).trimEnd()}…`;
    return short;
  });
  return { text: fitted.join("\n"), width: Math.max(...fitted.map(width)), height: fitted.length * LINE };
}

/** Read the palette of the present theme: Cytoscape wants colours, not custom properties. */
function palette(element) {
  const probe = document.createElement("i");
  element.append(probe);
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const names = ["ink", "quiet", "card", "accent", "on-accent", "ochre", "ochre-soft", "edge", "line"];
  const colours = Object.fromEntries(names.map((name) => [name, read(name)]));
  probe.remove();
  return colours;
}

function look(colours) {
  return [
    { selector: "node", style: {
      shape: "round-rectangle", "corner-radius": 7, width: "data(width)", height: "data(height)", label: "data(label)",
      "font-family": '"Inter", system-ui, sans-serif', "font-size": 13, "line-height": 1.3, "text-valign": "center",
      "text-halign": "center", "text-wrap": "wrap", "text-max-width": 400, "border-width": 1, color: colours.ink,
      "background-color": colours.card, "border-color": colours.edge, "overlay-opacity": 0 } },
    { selector: 'node[kind = "own"]', style: { "background-color": colours.accent, "border-color": colours.accent, color: colours["on-accent"] } },
    { selector: 'node[kind = "goal"]', style: { "background-color": colours.ink, "border-color": colours.ink, color: colours.card, "font-weight": 600 } },
    { selector: 'node[kind = "entity"]', style: { "background-color": colours["ochre-soft"], "border-color": colours.ochre } },
    { selector: 'node[kind = "crowd"]', style: { "border-style": "dashed", "border-width": 1.5 } },
    { selector: "node[?shared]", style: { "border-width": 2.5 } },
    { selector: 'node[kind = "relation"]', style: { "background-opacity": 0, "border-width": 0, color: colours.quiet, "font-size": 11.5 } },
    { selector: "edge", style: {
      width: "data(weight)", "line-color": colours.edge, "curve-style": "bezier", "arrow-scale": 0.9, "overlay-opacity": 0,
      "target-arrow-color": colours.edge, "source-arrow-color": colours.edge } },
    { selector: 'edge[arrow = "target"]', style: { "target-arrow-shape": "triangle" } },
    { selector: 'edge[arrow = "source"]', style: { "source-arrow-shape": "triangle" } },
  ];
}

/**
 * What Cytoscape takes, from the plain nodes and edges of `Graph`. Labels are text throughout. A relation becomes a node
 * without a frame, so that the layout makes room for its name; facts with the same head and relation share it.
 */
function elements(nodes, edges, widest) {
  const boxes = new Map(nodes.map((node) => {
    const label = fold(node.label, widest);
    const size = { width: label.width + 2 * PAD, height: label.height + PAD };
    return [node.id, { id: node.id, kind: node.kind, shared: node.shared ?? false, label: label.text, ...size }];
  }));
  const lines = new Map();
  const join = (source, target, share, arrow) => {
    const id = `${source} | ${target}`;
    const sum = (lines.get(id)?.share ?? 0) + share;
    lines.set(id, { id, source, target, arrow, share: sum, weight: 1.25 + 4 * Math.min(1, sum) });
  };
  for (const { from, to, relation, label, inverse, share = 0 } of edges) {
    const id = `${inverse ? to : from} | ${relation ?? `${from} | ${to}`}`;
    const name = fold(label, widest);
    boxes.set(id, { id, kind: "relation", shared: false, label: name.text, width: name.width * 0.9 + 8, height: name.height + 2 });
    join(from, id, share, relation !== null && inverse ? "source" : "none");
    join(id, to, share, relation !== null && !inverse ? "target" : "none");
  }
  return [...boxes.values(), ...lines.values()].map((data) => ({ data }));
}

/** Lay out so that labels stay readable: sideways where there is room, else upright. Returns the height to give the picture. */
function arrange(cy, width) {
  const tryOut = (rankDir) => {
    const rankSep = rankDir === "LR" ? 22 : 16;
    cy.layout({ name: "dagre", rankDir, rankSep, nodeSep: 10, edgeSep: 6, fit: false, animate: false }).run();
    return cy.elements().boundingBox();
  };
  let box = tryOut("LR");
  if (width / (box.w + 24) < SMALLEST) {
    const upright = tryOut("TB");
    if (upright.w < box.w) box = upright;
    else box = tryOut("LR");
  }
  return Math.ceil(box.h * Math.min(1, width / (box.w + 24))) + 28;
}

/**
 * A picture of nodes and edges. It is an image for assistive technology: the caller says the same in words beside it.
 *
 * @param nodes [{id, label, kind: own | entity | crowd | item | goal, shared?}]
 * @param edges [{from, to, relation, label, inverse, share?}]: `inverse` where the fact is said of `to`; `relation` null where
 *   it is no fact of the graph; `share` 0..1 is drawn as thickness.
 * @param title what the picture shows.
 * @param least height in pixels that is kept free from the start, so that nothing jumps.
 */
export function Graph({ nodes, edges, title, least = 160 }) {
  const holder = useRef(null);
  const [height, setHeight] = useState(least);
  const [broken, setBroken] = useState(false);
  const shape = JSON.stringify([nodes, edges]);

  useEffect(() => {
    let cy = null;
    let gone = false;
    const stops = [];
    const draw = (cytoscape) => {
      if (gone) return;
      const element = holder.current;
      let width = element.clientWidth;
      cy = cytoscape({
        container: element, elements: elements(nodes, edges, Math.min(WIDEST, width / 3)), style: look(palette(element)),
        userZoomingEnabled: false, userPanningEnabled: false, boxSelectionEnabled: false, autoungrabify: true,
        autounselectify: true, maxZoom: 1, minZoom: 0.2, layout: { name: "preset" },
      });
      const settle = () => {
        setHeight(Math.max(least, arrange(cy, width)));
        requestAnimationFrame(() => {
          if (gone) return;
          cy.resize();
          cy.fit(undefined, 12);
          element.dataset.drawn = String(nodes.length);
        });
      };
      settle();
      const seen = new ResizeObserver(() => {
        if (element.clientWidth === width) cy.resize().fit(undefined, 12);
        else {
          width = element.clientWidth;
          settle();
        }
      });
      seen.observe(element);
      const repaint = () => cy.style(look(palette(element)));
      const dark = matchMedia("(prefers-color-scheme: dark)");
      dark.addEventListener("change", repaint);
      addEventListener("metakg:theme", repaint);
      stops.push(() => seen.disconnect(), () => dark.removeEventListener("change", repaint), () => removeEventListener("metakg:theme", repaint));
    };
    setBroken(false);
    load().then(draw, () => setBroken(true));
    return () => {
      gone = true;
      for (const stop of stops) stop();
      cy?.destroy();
    };
  }, [shape]);

  if (broken) return html`<p class="nothing">The picture could not be loaded; the list beside it says the same.</p>`;
  return html`<div class="graph" role="img" aria-label=${title} style=${{ height: `${height}px` }} ref=${holder}></div>`;
}
