// The graph around the picks: what the liked things are, and what they have in common.
import { useAnswer } from "./answer.js";
import { ask } from "./api.js";
import { Graph } from "./graph.js";
import { html } from "./html.js";
import { Trouble } from "./problem.js";

const ITEMS = 4; // more than this is a hairball
const ENTITIES = 11;
const REST_MS = 120;

/** The facts of the last few liked things; what two of them share comes first. */
export function Around({ liked }) {
  const shown = liked.slice(-ITEMS);
  const ids = shown.map(({ id }) => id);
  const question = (signal) => Promise.all(ids.map((id) => ask("GET", ["items", id], { signal })));
  const answer = useAnswer(ids.length > 0 ? question : null, [ids.join("\n")], { delayMs: REST_MS });
  const items = answer.data;
  return html`
    <section class="around card" aria-labelledby="around-head" aria-busy=${answer.busy ? "true" : "false"}>
      <h2 id="around-head">The graph around your picks</h2>
      ${answer.problem && html`<${Trouble} ...${answer} />`}
      ${ids.length === 0 && html`<p class="nothing">Pick something, and its facts are drawn here.</p>`}
      ${items && ids.length > 0 && html`<${Neighbourhood} items=${items} />`}
      ${!items && ids.length > 0 && !answer.problem && html`<div class="graph waiting" aria-hidden="true"></div>`}
    </section>`;
}

function Neighbourhood({ items }) {
  if (items.every((item) => item.facts.length === 0)) return html`<p class="nothing">The graph holds no facts about them.</p>`;
  const { nodes, edges, left, shared } = picture(items);
  const names = items.map((item) => item.label).join(", ");
  return html`
    <${Graph} nodes=${nodes} edges=${edges} title=${`Facts about ${names}, listed in words next.`} least=${240} />
    <p class="quiet">
      ${shared.length > 0 && html`In common: ${shared.join(", ")}. `}
      ${left > 0 && `${left} more facts are in the list.`}
    </p>
    <details>
      <summary>The same as a list</summary>
      ${items.map((item) => html`
        <h3 key=${item.item}>${item.label}</h3>
        <ul class="facts">
          ${item.facts.map((fact) => html`<li>${fact.inverse
            ? html`<b>${fact.entity_label}</b> ${fact.relation_label} this`
            : html`${fact.relation_label} <b>${fact.entity_label}</b>`}</li>`)}
        </ul>`)}
    </details>`;
}

/** Choose what to draw: entities shared by several items first, then each item's own in turn. */
function picture(items) {
  const entities = new Map();
  items.forEach((item) => item.facts.forEach((fact, rank) => {
    const entry = entities.get(fact.entity) ?? { id: fact.entity, label: fact.entity_label, isItem: fact.is_item, by: new Set(), rank };
    entry.by.add(item.item);
    entry.rank = Math.min(entry.rank, rank);
    entities.set(fact.entity, entry);
  }));
  const own = new Set(items.map((item) => item.item));
  const order = [...entities.values()].sort((a, b) => b.by.size - a.by.size || a.rank - b.rank);
  const kept = order.slice(0, ENTITIES);
  const drawn = new Set(kept.map(({ id }) => id));
  const nodes = [
    ...items.map((item) => ({ id: `item ${item.item}`, label: item.label, kind: "own" })),
    ...kept.filter(({ id }) => !own.has(id)).map((entry) => ({
      id: `entity ${entry.id}`, label: entry.label, kind: entry.isItem ? "item" : "entity", shared: entry.by.size > 1 })),
  ];
  const edges = new Map();
  for (const item of items) {
    for (const fact of item.facts.filter(({ entity }) => drawn.has(entity))) {
      const from = `item ${item.item}`;
      const to = own.has(fact.entity) ? `item ${fact.entity}` : `entity ${fact.entity}`;
      if (!edges.has(`${to} | ${fact.relation} | ${from}`)) {
        edges.set(`${from} | ${fact.relation} | ${to}`, { from, to, relation: fact.relation, label: fact.relation_label, inverse: fact.inverse });
      }
    }
  }
  const shared = kept.filter(({ by }) => by.size > 1).map(({ label }) => label);
  return { nodes, edges: [...edges.values()], left: order.length - kept.length, shared };
}
