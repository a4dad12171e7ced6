// Drawn for this page on a grid of 20; decoration only, the button beside them carries the name.
import { html } from "./html.js";

const SHAPES = {
  like: "M10 16.5 4.2 10.7a3.6 3.6 0 0 1 5.1-5.1l.7.7.7-.7a3.6 3.6 0 0 1 5.1 5.1Z",
  dislike: "M10 3.2a6.8 6.8 0 1 0 0 13.6 6.8 6.8 0 0 0 0-13.6ZM5.3 5.3l9.4 9.4",
  close: "m5.5 5.5 9 9m0-9-9 9",
  search: "M9 3.8a5.2 5.2 0 1 0 0 10.4A5.2 5.2 0 0 0 9 3.8Zm3.8 9 3.7 3.7",
  down: "m5 8 5 5 5-5",
  sun: "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7ZM10 2v1.6M10 16.4V18M2 10h1.6M16.4 10H18M4.3 4.3l1.2 1.2m9 9 1.2 1.2M4.3 15.7l1.2-1.2m9-9 1.2-1.2",
  moon: "M16.5 12A7 7 0 0 1 8 3.5a6.8 6.8 0 1 0 8.5 8.5Z",
  key: "M7 9.6a3.4 3.4 0 1 0 0 6.8 3.4 3.4 0 0 0 0-6.8Zm2.5.9 6.8-6.8m-3 3 2.2 2.2m-4.2-.2 1.6 1.6",
  plus: "M10 4v12M4 10h12",
  warning: "M10 3.2 17.6 16.4H2.4ZM10 8v4m0 2v.4",
};

export const Icon = ({ name }) => html`
  <svg class="icon" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" focusable="false">
    <path d=${SHAPES[name]} />
  </svg>`;

/** The mark of the house: two things, joined by what they share. */
export const Mark = () => html`
  <svg class="mark" viewBox="0 0 32 32" width="30" height="30" aria-hidden="true" focusable="false">
    <path d="M8 23 16 9l8 14" />
    <circle class="end" cx="8" cy="23" r="4" /><circle class="end" cx="24" cy="23" r="4" /><circle class="mid" cx="16" cy="9" r="4.4" />
  </svg>`;
