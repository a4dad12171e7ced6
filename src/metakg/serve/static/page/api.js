// The HTTP interface: one function, and errors that say what happened and what to do about it.

const TIMEOUT_MS = 30_000; // longer than the server's own deadlines: its answer says more than our impatience
const KEY = "metakg.key";
const BASE = new URL("api/", document.baseURI); // relative, so that the page also works behind a path prefix

/**
 * Something went wrong on the way to an answer.
 *
 * kind: what sort of thing: offline, timeout, key, role, busy, starting, refused (the request was wrong), missing, or server.
 * code: the server's own word for it. again: whether asking the same once more can help. retryAfterS: when the server says so.
 */
export class Problem extends Error {
  constructor(kind, message, { detail = "", code = "", field = null, retryAfterS = null } = {}) {
    super(message);
    Object.assign(this, { kind, detail, code, field, retryAfterS });
    this.again = ["offline", "timeout", "busy", "starting"].includes(kind);
  }
}

const KINDS = {
  401: ["key", "This server asks for a key."],
  403: ["role", "This key may not do that."],
  404: ["missing", "That is not known here."],
  408: ["timeout", "The server gave up waiting."],
  413: ["refused", "That was too much for one request."],
  429: ["busy", "Too many requests for the moment."],
  502: ["offline", "The server cannot be reached."],
  503: ["starting", "The server is not ready yet."],
  504: ["timeout", "The server took too long."],
};

async function problemOf(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // A proxy answers in HTML: the status alone has to do.
  }
  const other = response.status < 500 ? ["refused", "The server did not accept that."] : ["server", "The server made a mistake."];
  const [kind, message] = KINDS[response.status] ?? other;
  const header = Number.parseFloat(response.headers.get("Retry-After"));
  return new Problem(kind, message, {
    detail: typeof error.message === "string" ? sentence(error.message) : `It answered ${response.status}.`,
    code: error.code ?? "",
    field: error.field ?? null,
    retryAfterS: error.retry_after_s ?? (Number.isNaN(header) ? null : header),
  });
}

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

/** How long the last answers took, in milliseconds, as this page saw it. */
export const times = [];

function took(milliseconds) {
  times.push(milliseconds);
  if (times.length > 100) times.shift();
}

let held = ""; // the key, where the browser refuses to keep anything

/** The visitor's key. It lives as long as the browser tab and goes nowhere but into the header of our own requests. */
export const key = {
  get value() {
    try {
      return sessionStorage.getItem(KEY) ?? held;
    } catch {
      return held;
    }
  },
  set value(text) {
    held = text;
    try {
      if (text) sessionStorage.setItem(KEY, text);
      else sessionStorage.removeItem(KEY);
    } catch {
      // It lasts as long as the page, then.
    }
    dispatchEvent(new Event("metakg:key"));
  },
};

/**
 * Ask the server and return its answer (JSON as what it says, else text), or throw a Problem. Aborting the signal throws the signal's reason.
 *
 * @param path parts of the path under /api/; each is escaped.
 */
export async function ask(method, path, { query = {}, body, signal } = {}) {
  const url = new URL(path.map(encodeURIComponent).join("/"), BASE);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const headers = { Accept: "application/json" };
  if (key.value) headers["X-API-Key"] = key.value;
  if (body !== undefined) headers["Content-Type"] = "application/json";

  const own = new AbortController();
  const late = setTimeout(() => own.abort("timeout"), TIMEOUT_MS);
  const stop = () => own.abort("stop");
  signal?.addEventListener("abort", stop);
  const begin = performance.now();
  try {
    const response = await fetch(url, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal: own.signal, cache: "no-store",
    });
    if (!response.ok) throw await problemOf(response);
    const json = response.headers.get("Content-Type")?.startsWith("application/json");
    const answer = json ? await response.json() : await response.text();
    took(performance.now() - begin);
    return answer;
  } catch (error) {
    if (error instanceof Problem) throw error;
    if (signal?.aborted) throw signal.reason;
    if (own.signal.aborted) throw new Problem("timeout", "The server took too long.", { detail: `No answer in ${TIMEOUT_MS / 1000} s.` });
    if (error instanceof SyntaxError) throw new Problem("server", "The server's answer cannot be read.", { detail: "It was not JSON." });
    throw new Problem("offline", "The server cannot be reached.", { detail: "It may have stopped, or the network is down." });
  } finally {
    clearTimeout(late);
    signal?.removeEventListener("abort", stop);
  }
}
