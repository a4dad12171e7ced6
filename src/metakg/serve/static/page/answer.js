// A question that follows its inputs: debounced, the latest answer wins, and what can be tried again is tried again.
import { Problem } from "./api.js";
import { useEffect, useReducer, useRef, useState } from "./html.js";

const TRIES = 6;
const LONGEST_WAIT_S = 30;

const IDLE = { data: null, problem: null, busy: false, nextTry: null };

/**
 * Ask whenever an input changes.
 *
 * @param question (signal) => promise of the answer; null asks nothing.
 * @param inputs values that the question depends on.
 * @param delayMs how long the inputs must rest before the question goes out.
 * @param everyMs ask again so long after each answer, for as long as the page is in sight; null asks once.
 * @returns {data, problem, busy, nextTry, retry}: `data` is the last good answer, kept while a newer one is on its way;
 *   `nextTry` is when the page asks again by itself (ms since 1970), or null.
 */
export function useAnswer(question, inputs, { delayMs = 0, everyMs = null } = {}) {
  const [state, setState] = useState(IDLE);
  const [round, retry] = useReducer((number) => number + 1, 0);
  const failures = useRef(0);
  const automatic = useRef(false);

  useEffect(() => {
    if (question === null) {
      setState(IDLE);
      return undefined;
    }
    if (!automatic.current) failures.current = 0;
    const mine = new AbortController();
    let timer = 0;
    const again = () => {
      clearTimeout(timer);
      automatic.current = true;
      retry();
    };
    const next = () => {
      if (document.hidden) timer = setTimeout(next, everyMs);
      else again();
    };
    const go = async () => {
      try {
        const data = await question(mine.signal);
        if (mine.signal.aborted) return;
        failures.current = 0;
        setState({ ...IDLE, data });
        if (everyMs !== null) timer = setTimeout(next, everyMs);
      } catch (error) {
        if (mine.signal.aborted) return;
        if (!(error instanceof Problem)) throw error;
        const patient = everyMs !== null || failures.current < TRIES;
        const hopeful = error.again || (everyMs !== null && !["key", "role"].includes(error.kind)); // what is watched goes on being watched
        const wait = hopeful && patient ? waitS(error, failures.current) * 1000 : null;
        failures.current += 1;
        setState((old) => ({ data: old.data, problem: error, busy: false, nextTry: wait === null ? null : Date.now() + wait }));
        if (wait !== null) timer = setTimeout(again, wait);
        if (error.kind === "offline") addEventListener("online", again, { signal: mine.signal });
      }
    };
    setState((old) => ({ ...old, busy: true }));
    timer = setTimeout(go, automatic.current ? 0 : delayMs);
    automatic.current = false;
    // Another key may be allowed what this one is not.
    addEventListener("metakg:key", again, { signal: mine.signal });
    return () => {
      mine.abort("newer question");
      clearTimeout(timer);
    };
  }, [...inputs, question === null, round]);

  return { ...state, retry };
}

/** Seconds to wait: what the server asks for, else 1, 2, 4 ... */
const waitS = (problem, failures) => Math.min(problem.retryAfterS ?? 2 ** failures, LONGEST_WAIT_S);
