// One place that knows where the vendored modules lie. Bare names would need an inline import map, which the policy forbids.
import htm from "../vendor/htm.mjs";
import { h } from "../vendor/preact.mjs";

export { render } from "../vendor/preact.mjs";
export {
  useCallback,
  useEffect,
  useErrorBoundary,
  useId,
  useLayoutEffect,
  useMemo,
  useReducer,
  useRef,
  useState,
} from "../vendor/hooks.mjs";

/** Markup as a tagged template. Whatever is put in with ${} becomes text or a property, never markup. */
export const html = htm.bind(h);
