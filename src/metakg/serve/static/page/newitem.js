// The second view: a thing nobody has seen yet, known by its facts alone, and whom it would reach.
import { announce } from "./announce.js";
import { useAnswer } from "./answer.js";
import { ask, Problem } from "./api.js";
import { Combobox } from "./combobox.js";
import { html, useEffect, useState } from "./html.js";
import { Icon } from "./icons.js";
import { Trouble } from "./problem.js";
import { many, slug } from "./words.js";

const SHOWN = 8;
const EXAMPLES = 8;
const REST_MS = 200;
const POLL_MS = 300;
const SETTLE_MS = 30_000;

export function NewItem({ onPick }) {
  const [label, setLabel] = useState("");
  const [facts, setFacts] = useState([]);
  const body = { label: label.trim() || null, facts: facts.map(({ relation, entity }) => ({ relation: relation.id, entity: entity.id })), n: SHOWN };
  const preview = (signal) => ask("POST", ["items", "preview"], { body, signal });
  const answer = useAnswer(facts.length > 0 ? preview : null, [JSON.stringify(body.facts)], { delayMs: REST_MS });

  useEffect(() => {
    if (answer.data) announce(`It would reach ${many(answer.data.users.length, "person", "people")} first, and is similar to ${many(answer.data.similar.length, "thing")}.`);
  }, [answer.data]);

  const add = (fact) => {
    const twice = facts.some((old) => old.relation.id === fact.relation.id && old.entity.id === fact.entity.id);
    if (!twice) setFacts([...facts, fact]);
    announce(`${twice ? "Already there" : "Added"}: ${fact.relation.label} ${fact.entity.label}`);
  };
  return html`
    <div class="hero">
      <h1 tabindex="-1">Something brand new.</h1>
      <p>Nobody has clicked it yet. Say what it is, and see whom it would reach. Nothing is kept until you add it.</p>
    </div>
    <div class="split">
      <section class="card" aria-labelledby="facts-head">
        <h2 id="facts-head">What it is</h2>
        <label for="new-name">Name</label>
        <div class="field"><input id="new-name" type="text" autocomplete="off" maxlength="200" value=${label} placeholder="The Lighthouse Keeper’s Moon" onInput=${(event) => setLabel(event.target.value)} /></div>
        <${FactPicker} onAdd=${add} taken=${facts} />
        <div class="chip-group">
          <h3>Its facts</h3>
          ${facts.length === 0
            ? html`<p class="quiet">None yet. One is enough to begin.</p>`
            : html`<ul class="chips">${facts.map((fact) => html`
                <li key=${`${fact.relation.id} ${fact.entity.id}`} class="chip fact">
                  <span>${fact.relation.label} <b>${fact.entity.label}</b></span>
                  <button type="button" aria-label=${`Remove: ${fact.relation.label} ${fact.entity.label}`} onClick=${() => setFacts(facts.filter((old) => old !== fact))}><${Icon} name="close" /></button>
                </li>`)}</ul>`}
        </div>
        <${Keep} label=${label.trim()} facts=${body.facts} onPick=${onPick} />
      </section>
      <section class="reach" aria-labelledby="reach-head" aria-busy=${answer.busy ? "true" : "false"}>
        <header class="section-head">
          <h2 id="reach-head">Whom it would reach</h2>
          <p class="quiet">Those to whose clicks it is closest.</p>
        </header>
        ${answer.problem && html`<${Trouble} ...${answer} />`}
        ${facts.length === 0 && html`<div class="card nothing-card"><p class="nothing">Add a fact, and the first people appear.</p></div>`}
        ${facts.length > 0 && !answer.data && !answer.problem && html`<ol class="list">${Array.from({ length: 4 }, (_, place) => html`<li key=${place} class="card row-card ghost" aria-hidden="true"></li>`)}</ol>`}
        ${answer.data && html`<${Reached} users=${answer.data.users} similar=${answer.data.similar} />`}
      </section>
    </div>`;
}

/** Facts of a few well-known things, to begin with: what can be said here at all is hard to guess. */
function useExamples() {
  const question = async (signal) => {
    const { items } = await ask("POST", ["session", "recommend"], { body: { liked: [], disliked: [], n: EXAMPLES }, signal });
    const known = await Promise.all(items.map(({ item }) => ask("GET", ["items", item], { signal })));
    return known.flatMap(({ facts }) => facts.filter(({ inverse }) => !inverse));
  };
  return useAnswer(question, []).data ?? [];
}

const unique = (things) => [...new Map(things.map((thing) => [thing.id, thing])).values()];

/** A relation and an entity; the fact is added as soon as both are there, and the relation stays for the next one. */
function FactPicker({ onAdd, taken }) {
  const [relation, setRelation] = useState(null);
  const [entity, setEntity] = useState(null);
  const examples = useExamples();
  const relations = unique(examples.map((fact) => ({ id: fact.relation, label: fact.relation_label })));
  const fitting = relation ? examples.filter((fact) => fact.relation === relation.id) : [];
  const entities = unique(fitting.map((fact) => ({ id: fact.entity, label: fact.entity_label })));
  const there = taken.filter((fact) => fact.relation.id === relation?.id).map((fact) => fact.entity.id);
  const settle = (nextRelation, nextEntity) => {
    if (nextRelation && nextEntity) {
      onAdd({ relation: nextRelation, entity: nextEntity });
      nextEntity = null;
    }
    setRelation(nextRelation);
    setEntity(nextEntity);
  };
  return html`
    <fieldset class="fact-picker">
      <legend>Add a fact</legend>
      <${Combobox} label="Relation" kind="relation" placeholder="Choose or type" suggestions=${relations} chosen=${relation?.label ?? null} onPick=${(found) => settle(found, entity)} onClear=${() => setRelation(null)} />
      <${Combobox} label="What or whom" kind="entity" placeholder="Start typing a name" suggestions=${entities} taken=${there} chosen=${entity?.label ?? null} onPick=${(found) => settle(relation, found)} onClear=${() => setEntity(null)}
        hint=${entity && !relation ? "Now choose the relation." : "The fact is added once both are chosen."} />
    </fieldset>`;
}

function Reached({ users, similar }) {
  const top = Math.max(...users.map(({ score }) => score), 0);
  return html`
    ${users.length === 0
      ? html`<div class="card nothing-card"><p class="nothing">Nobody yet: no one has clicked anything that shares these facts.</p></div>`
      : html`<ol class="card people" aria-label="People it would reach, the nearest first">
          ${users.map(({ user, label, score }) => html`
            <li key=${user}><span class="name">${label}</span>
              <span class="bar" aria-hidden="true"><i style=${{ width: top > 0 ? `${Math.max(0, (100 * score) / top)}%` : "0" }}></i></span></li>`)}
        </ol>`}
    <h2 class="second">Most similar</h2>
    ${similar.length === 0
      ? html`<p class="nothing">Nothing shares these facts.</p>`
      : html`<ol class="card similar">${similar.map(({ item, label }) => html`<li key=${item}>${label ?? item}</li>`)}</ol>`}`;
}

const FRESH = { state: "open", problem: null };

/** Really add it, which takes a key that may write, and take it out again. */
function Keep({ label, facts, onPick }) {
  const [typed, setTyped] = useState(null); // the id, once it was edited by hand
  const [{ state, problem, kept }, setStep] = useState(FRESH);
  const id = typed ?? slug(label);

  const step = async (work, done) => {
    setStep((old) => ({ ...old, state: "busy", problem: null }));
    try {
      setStep({ state: done, problem: null, kept: await work() });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setStep((old) => ({ ...old, state: done === "kept" ? "open" : "kept", problem: error }));
    }
  };
  const put = async () => {
    if (await known(id)) {
      throw new Problem("refused", "That id is taken.", { detail: `“${id}” is already something else here.`, field: "id" });
    }
    await ask("PUT", ["items", id], { body: { label, facts } });
    await settled(id, true);
    announce(`${label} is added.`);
    return { id, label };
  };
  const remove = async () => {
    await ask("DELETE", ["items", kept.id]);
    await settled(kept.id, false);
    announce(`${kept.label} is taken out again.`);
    return null;
  };
  if (kept) {
    return html`
      <div class="keep done">
        <p><b>${kept.label}</b> is in the catalogue as <code>${kept.id}</code>, and stays there.</p>
        ${problem && html`<${Trouble} problem=${problem} />`}
        <p class="row">
          <button type="button" class="button" onClick=${() => onPick("like", kept)}>Like it and see what follows</button>
          <button type="button" class="button plain" disabled=${state === "busy"} onClick=${() => step(remove, "open")}>Take it out again</button>
        </p>
      </div>`;
  }
  const missing = label === "" ? "a name" : facts.length === 0 ? "a fact" : id === "" ? "an id" : null;
  return html`
    <form class="keep" onSubmit=${(event) => {
      event.preventDefault();
      if (missing === null && state !== "busy") step(put, "kept");
    }}>
      <h3>Keep it</h3>
      <label for="new-id">Id in the catalogue</label>
      <div class="field"><input id="new-id" type="text" autocomplete="off" maxlength="128" value=${id} onInput=${(event) => setTyped(event.target.value.trim())} /></div>
      ${problem && html`<${Trouble} problem=${problem} />`}
      <p class="row">
        <button type="submit" class="button strong" aria-disabled=${missing !== null || state === "busy" ? "true" : "false"}>${state === "busy" ? "Adding …" : "Add it to the catalogue"}</button>
        <span class="quiet">${missing ? `It still needs ${missing}.` : "Everybody can be recommended it from then on."}</span>
      </p>
    </form>`;
}

/** Wait until a change that was accepted is in all answers: the server works new facts in a moment later. */
async function settled(id, there) {
  for (let waited = 0; waited < SETTLE_MS; waited += POLL_MS) {
    if ((await known(id)) === there) return;
    await new Promise((resume) => setTimeout(resume, POLL_MS));
  }
  throw new Problem("timeout", "It is accepted, but not in the answers yet.", { detail: "The server is still working it in." });
}

async function known(id) {
  try {
    await ask("GET", ["items", id]);
    return true;
  } catch (error) {
    if (error instanceof Problem && error.kind === "missing") return false;
    throw error;
  }
}
