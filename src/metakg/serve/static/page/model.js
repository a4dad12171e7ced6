// The third view: how good the model is where it is hard, and how the server does.
import { useAnswer } from "./answer.js";
import { ask, times } from "./api.js";
import { html, useState } from "./html.js";
import { Trouble } from "./problem.js";
import { count, duration, scenario } from "./words.js";

const EVERY_MS = 5000;
const METRICS = { recall: "Recall", ndcg: "NDCG", precision: "Precision", hit: "Hit rate", mrr: "MRR", map: "MAP", auc: "AUC" };
const OTHER = ["coverage", "tied"]; // rows beside the metrics: not a user's figures

export function Model() {
  const often = { everyMs: EVERY_MS };
  const status = useAnswer((signal) => ask("GET", ["status"], { signal }), [], often);
  const live = useAnswer((signal) => ask("GET", ["health", "live"], { signal }), [], often);
  const ready = useAnswer((signal) => ask("GET", ["health", "ready"], { signal }), [], often);
  const metrics = useAnswer((signal) => ask("GET", ["..", "metrics"], { signal }), [], often);
  const data = status.data;
  return html`
    <div class="hero">
      <h1 tabindex="-1">The model and its server.</h1>
      <p>How it does where others have nothing to go by, and whether all is well at this moment.</p>
    </div>
    ${status.problem && html`<${Trouble} ...${status} />`}
    <div class="split even">
      <div class="stack">
        <section class="card" aria-labelledby="cold-head">
          <h2 id="cold-head">Cold-start figures</h2>
          ${data ? html`<${ColdStart} rows=${data.cold_start ?? []} />` : html`<div class="graph waiting" aria-hidden="true"></div>`}
        </section>
        <section class="card" aria-labelledby="model-head">
          <h2 id="model-head">The model</h2>
          ${data && html`<${Figures} group=${{ model: data.model, bundle: data.bundle, version: data.version, ...data.counts, adapted_users: data.adapted_users }} />`}
        </section>
      </div>
      <section class="card" aria-labelledby="health-head">
        <h2 id="health-head">Health</h2>
        <ul class="lights">
          <${Light} name="Live" answer=${live} good="answers" bad="does not answer" />
          <${Light} name="Ready" answer=${ready} good="takes requests" bad="not ready" />
        </ul>
        ${data && html`
          <${Figures} title="Requests" group=${{ up_s: data.uptime_s, ...data.requests }} />
          ${metrics.data && html`<${Figures} title="Answers, timed by the server" group=${latency(metrics.data)} />`}
          <${Figures} title="Answers, timed by this page" group=${seen()} />
          <${Figures} title="Store" group=${data.store} />`}
      </section>
    </div>`;
}

function Light({ name, answer, good, bad }) {
  const state = answer.problem ? "bad" : answer.data ? "good" : "unknown";
  const text = { bad, good, unknown: "asking …" }[state];
  return html`<li><span class=${`light ${state}`} aria-hidden="true"></span><b>${name}</b><span>${text}</span></li>`;
}

/** Terms of the server that say little by themselves. */
const TERMS = {
  up: "up for", total: "in all", "by status": "answered", waiting: "waiting now", "kept answers used": "answered from memory",
  "adapted users": "users who clicked since", last: "answers", events: "events kept", unwritten: "waiting to be written",
  behind: "changes to work in", "behind s": "the oldest waits", "left out": "changes left out",
};

/** A group of figures, whatever the server gives. */
function Figures({ title, group }) {
  return html`
    ${title && html`<h3>${title}</h3>`}
    <dl class="figures">${flat(group ?? {}).map(([term, value]) => html`<div key=${term}><dt>${term}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/**
 * Within what time the server answered half, and nearly all, of the questions since it started: upper bounds, read from the
 * buckets of Prometheus' text format, of all routes that answer a question.
 */
export function latency(text) {
  const buckets = new Map();
  for (const [, labels, number] of text.matchAll(/^metakg_request_seconds_bucket\{(.*)\} (\S+)$/gm)) {
    const { le, route } = Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]));
    if (!route.startsWith("/api/") || route.startsWith("/api/health/")) continue;
    const bound = le === "+Inf" ? Infinity : Number(le);
    buckets.set(bound, (buckets.get(bound) ?? 0) + Number(number));
  }
  const bounds = [...buckets.keys()].sort((a, b) => a - b);
  const all = buckets.get(Infinity) ?? 0;
  if (all === 0) return {};
  const within = (part) => {
    const bound = bounds.find((each) => buckets.get(each) >= part * all);
    return bound === Infinity ? `more than ${bounds.at(-2) * 1000} ms` : `${Number((bound * 1000).toPrecision(3))} ms`;
  };
  return { answers: all, half_within: within(0.5), "99%_within": within(0.99) };
}

function seen() {
  const order = [...times].sort((a, b) => a - b);
  return { last: order.length, median_ms: order[Math.floor(order.length / 2)], slowest_ms: order.at(-1) };
}

/** {p50_ms: 3.2} -> [["p50", "3.2 ms"]]; nothing that the server may add later is lost. */
function flat(group, above = "") {
  return Object.entries(group).flatMap(([name, value]) => {
    const [, stem, unit] = name.match(/^(.*?)(?:_(ms|s|bytes))?$/);
    const plain = name.replaceAll("_", " ");
    const term = `${above}${TERMS[plain] ?? TERMS[stem] ?? stem.replaceAll("_", " ")}`;
    if (value === null || value === undefined) return [];
    if (typeof value === "object") return flat(value, `${term} `);
    if (typeof value === "boolean") return [[term, value ? "yes" : "no"]];
    if (typeof value === "number") return [[term, unit === "s" ? duration(value) : `${figure(value)}${unit ? ` ${unit}` : ""}`]];
    return [[term, value]];
  });
}

const figure = (value) => (Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(3))));

function ColdStart({ rows }) {
  const judged = rows.filter(({ metric }) => !OTHER.includes(metric));
  const measures = [...new Map(judged.map((row) => [`${row.metric}@${row.k}`, row])).keys()];
  const [chosen, setChosen] = useState(null);
  if (judged.length === 0) {
    return html`<p class="nothing">The bundle carries no figures. <code>metakg export</code> puts those of an evaluation into it.</p>`;
  }
  const measure = chosen ?? (measures.includes("ndcg@20") ? "ndcg@20" : measures[0]);
  const lines = new Map();
  const models = new Set(judged.map(({ model }) => model));
  for (const row of judged) {
    const name = `${row.model}|${row.scenario}|${row.shots}|${row.seed}`;
    const line = lines.get(name) ?? { name, ...row, means: {} };
    line.means[`${row.metric}@${row.k}`] = row.mean;
    lines.set(name, line);
  }
  const title = (line) => [
    scenario(line.scenario), line.shots === null ? null : `${line.shots} click${line.shots === 1 ? "" : "s"}`, models.size > 1 ? line.model : null,
  ].filter(Boolean).join(", ");
  const all = [...lines.values()];
  const top = Math.max(...all.map((line) => line.means[measure] ?? 0));
  // The table keeps to what fits a card: the usual two, and what was chosen.
  const wide = measures.length > 3 ? [...new Set(["recall@20", "ndcg@20", measure])].filter((name) => measures.includes(name)) : measures;
  return html`
    <p class="row"><label for="measure">Measure</label>
      <select id="measure" value=${measure} onChange=${(event) => setChosen(event.target.value)}>
        ${measures.map((name) => html`<option key=${name} value=${name}>${said(name)}</option>`)}
      </select></p>
    <figure class="chart">
      <figcaption>${said(measure)}, longer is better.</figcaption>
      <ul>${all.map((line) => html`
        <li key=${line.name}><span class="name">${title(line)}</span>
          <span class="bar" aria-hidden="true"><i style=${{ width: `${top > 0 ? (100 * (line.means[measure] ?? 0)) / top : 0}%` }}></i></span>
          <span class="value">${(line.means[measure] ?? 0).toFixed(4)}</span></li>`)}</ul>
    </figure>
    <div class="scroll" tabindex="0" role="region" aria-label="Table of the cold-start figures">
      <table>
        <caption class="unseen">Cold-start figures by scenario</caption>
        <thead><tr><th scope="col">Scenario</th>${wide.map((name) => html`<th key=${name} scope="col" class="number">${said(name)}</th>`)}<th scope="col" class="number">Judged users</th></tr></thead>
        <tbody>${all.map((line) => html`
          <tr key=${line.name}><th scope="row">${title(line)}</th>
            ${wide.map((name) => html`<td key=${name} class="number">${line.means[name]?.toFixed(4) ?? "–"}</td>`)}
            <td class="number">${count(line.n_users)}</td></tr>`)}</tbody>
      </table>
    </div>
    <p class="quiet">Protocol: ${[...new Set(all.map(({ protocol }) => protocol))].join(", ")}.${" "}
      ${all.every(({ candidates }) => candidates === "scenario") ? "Only items that can be right are ranked" : "Every item is ranked"};${" "}
      what the user had picked is left out.</p>`;
}

function said(measure) {
  const [metric, k] = measure.split("@");
  return `${METRICS[metric] ?? metric}@${k}`;
}
