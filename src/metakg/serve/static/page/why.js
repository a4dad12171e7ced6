// "Why this?": the paths behind one recommendation, as a picture and in words.
import { announce } from "./announce.js";
import { useAnswer } from "./answer.js";
import { ask } from "./api.js";
import { Graph } from "./graph.js";
import { html, useEffect } from "./html.js";
import { Trouble } from "./problem.js";
import { WAYS, aloud, count, joined, many, percent } from "./words.js";

export function Why({ item, label, liked, disliked }) {
  const body = { liked: liked.map(({ id }) => id), disliked: disliked.map(({ id }) => id), item, limit: 3 };
  const answer = useAnswer((signal) => ask("POST", ["session", "explain"], { body, signal }), [JSON.stringify(body)]);
  const reasons = answer.data?.reasons;
  useEffect(() => {
    if (reasons) announce(reasons.length === 0 ? `No path leads to ${label}` : `${many(reasons.length, "path")} to ${label}`);
  }, [answer.data]);

  if (answer.problem?.code === "no_explanations") {
    return html`<p class="nothing">This model cannot take its answers apart, so it has no paths to show. The floors and metakg can.</p>`;
  }
  if (answer.problem) return html`<${Trouble} ...${answer} />`;
  if (!reasons) return html`<div class="why waiting" aria-hidden="true"></div>`;
  if (reasons.length === 0) {
    const why = answer.data.clicked ? "You picked it yourself" : `No path leads here from your picks: ${WAYS[answer.data.way].without}`;
    return html`<p class="nothing">${why}.</p>`;
  }
  return html`
    <div class="why" aria-busy=${answer.busy ? "true" : "false"}>
      <${Graph} ...${merged(reasons, item)} title=${`The paths from your picks to ${label}, listed in words next.`} least=${150} />
      <ol class="paths" aria-label=${`Paths to ${label}`}>
        ${reasons.map((reason) => html`<li key=${reason.text}><${PathLine} reason=${reason} /></li>`)}
      </ol>
      <p class="quiet">${faithfulness(answer.data, reasons.length)}</p>
    </div>`;
}

/** One path in words, with its share of the score. */
function PathLine({ reason }) {
  return html`
    <span class="share"><strong>${percent(reason.share)}</strong> of what speaks for it
      <span class="bar" aria-hidden="true"><i style=${{ width: percent(reason.share) }}></i></span></span>
    <span class="path" aria-hidden="true">${reason.path.map((part, place) =>
      place % 2 === 0
        ? html`<b class=${place === 0 ? "own" : part.kind}>${part.label}</b>`
        : html`<span class="relation"> ${part.inverse ? "←" : "→"} ${joined(reason.path[place - 1], part)} </span>`)}</span>
    <span class="unseen">${aloud(reason.path)}</span>`;
}

/** What is left of the score and the place without the paths: how far they tell the truth. */
function faithfulness({ faithfulness: part, rank_without: place }, paths) {
  const these = paths === 1 ? "this path" : `these ${paths} paths`;
  const without = `Without the facts behind ${these},`;
  return part >= 0
    ? `${without} it would lose ${percent(part)} of what speaks for it and stand at place ${count(place)}.`
    : `${without} its score would not fall, and it would stand at place ${count(place)}: it is not ranked by them.`;
}

/** All paths as one graph: what two paths share is drawn once, and a heavier path is drawn thicker. */
function merged(reasons, item) {
  const nodes = new Map();
  const edges = new Map();
  for (const { path, share } of reasons) {
    const ends = path.length - 1;
    const name = (node, place) => (node.kind === "crowd" ? `crowd ${path[0].id} ${place} ${node.label}` : `${node.kind} ${node.id}`);
    path.forEach((part, place) => {
      if (place % 2 === 0) {
        const kind = place === 0 ? "own" : place === ends && part.id === item ? "goal" : part.kind;
        if (!nodes.has(name(part, place))) nodes.set(name(part, place), { id: name(part, place), label: part.label, kind });
        return;
      }
      const from = name(path[place - 1], place - 1);
      const to = name(path[place + 1], place + 1);
      const { relation, inverse } = part;
      const label = joined(path[place - 1], part);
      const about = `${from} | ${relation} | ${inverse} | ${to}`;
      edges.set(about, { from, to, relation, label, inverse, share: (edges.get(about)?.share ?? 0) + share });
    });
  }
  return { nodes: [...nodes.values()], edges: [...edges.values()] };
}
