// Numbers and the server's terms in words a visitor knows.

const whole = new Intl.NumberFormat("en");
const share = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 0 });

export const count = (number) => whole.format(number);

export const percent = (part) => share.format(part);

/** "1 fact", "2 facts"; an irregular plural is given whole. */
export const many = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;

/** Seconds as the two largest units: "3 d 4 h", "12 s". */
export function duration(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  let rest = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [name, size] of units) {
    const number = Math.floor(rest / size);
    rest -= number * size;
    if (number > 0 || (name === "s" && parts.length === 0)) parts.push(`${number} ${name}`);
  }
  return parts.slice(0, 2).join(" ");
}

/** How an answer was made: a short name for the badge, a sentence for those who ask, and what is said where no path leads. */
export const WAYS = {
  adapted: { name: "from your picks", about: "Adapted to what you picked a moment ago; nothing was retrained.", short: "fits your picks as a whole", without: "something else speaks for it" },
  trained: { name: "from past clicks", about: "Known from the clicks that the model was trained on.", short: "fits your past clicks", without: "something else speaks for it" },
  "kg-only": { name: "from facts alone", about: "Nobody clicked yet: made from the knowledge graph alone.", short: "fits what is known about you", without: "it is shown because of what is known about you" },
  popular: { name: "popular", about: "Nothing is known about you yet, so this is what most people like.", short: "liked by many here", without: "it is shown because many people like it" },
};

const SCENARIOS = {
  user_cold: "New users",
  item_cold: "New items",
  user_item_cold: "New users, new items",
  warm: "Known users and items",
  warm_up: "Known users and items",
};

export const scenario = (name) => SCENARIOS[name] ?? name;

/** The letters and digits of a name, as an id: "The Owl's Nest" -> "the-owls-nest". */
export const slug = (name) =>
  name.normalize("NFKD").replace(/[\u0300-\u036f'’]/g, "").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");

/**
 * The heaviest reason in one line, said from the recommended item's side.
 *
 * @param path nodes and edges in turn, from one of the visitor's own items to the recommended one.
 */
export function oneLine(path) {
  const own = path[0].label;
  if (path.length === 5) {
    const [, first, between, edge] = path;
    if (between.kind === "crowd") return `${between.label} picked this and ${own}`;
    if (edge.inverse && !first.inverse && edge.relation === first.relation) return `${edge.label} ${between.label}, like ${own}`;
  }
  const between = path.filter((_, place) => place % 2 === 0).slice(1, -1).map((node) => node.label);
  return between.length > 0 ? `reached from ${own} by way of ${between.join(" and ")}` : `linked to ${own}`;
}

/** The name of an edge; people who clicked one thing are those "who also clicked" the next. */
export const joined = (before, edge) => (edge.relation === null && before.kind === "crowd" ? "who also clicked" : edge.label);

/** A path as sentences, each fact in its own direction, for those who hear it: "A by X; Z by X." */
export function aloud(path) {
  const facts = [];
  for (let place = 1; place < path.length; place += 2) {
    const [before, edge, after] = path.slice(place - 1, place + 2);
    if (edge.relation === null) facts.push(before.kind === "crowd" ? `and ${after.label}` : `${after.label} picked ${before.label}`);
    else facts.push(edge.inverse ? `${after.label} ${edge.label} ${before.label}` : `${before.label} ${edge.label} ${after.label}`);
  }
  return `${facts.join("; ")}.`;
}
