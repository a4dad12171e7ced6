// Where the visitor is and what was picked, both in the address: it can be shared, kept, and gone back to.
import { useEffect, useState } from "./html.js";

export const VIEWS = ["recommend", "new", "model"];

/** Read "#/recommend?like=a&like=b&dislike=c". */
export function readAddress() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const values = new URLSearchParams(query);
  return {
    view: VIEWS.includes(path) ? path : "recommend",
    liked: [...new Set(values.getAll("like"))],
    disliked: [...new Set(values.getAll("dislike"))],
  };
}

export function address(view, liked, disliked) {
  const values = new URLSearchParams();
  for (const { id } of liked) values.append("like", id);
  for (const { id } of disliked) values.append("dislike", id);
  const query = values.toString();
  return `#/${view}${query && `?${query}`}`;
}

export function useAddress() {
  const [place, setPlace] = useState(readAddress);
  useEffect(() => {
    const move = () => setPlace(readAddress());
    addEventListener("hashchange", move);
    return () => removeEventListener("hashchange", move);
  }, []);
  return place;
}
