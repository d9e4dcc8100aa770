// What the page does without this script, it does: links, filters, paging, reading.
// With it, what is shown follows what happens, and filters need no button.
"use strict";

// show loads an address and puts what differs into this document.
let asked = 0;
async function show(address) {
  const mine = ++asked;
  let answer;
  try {
    answer = await fetch(address, { headers: { Accept: "text/html" }, cache: "no-store" });
  } catch {
    return false; // the daemon is away; the stream comes back by itself
  }
  if (!answer.ok || mine !== asked) return false;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (mine !== asked) return false;
  for (const there of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(there.id);
    if (!next) {
      location.reload(); // another page by now, such as one for an app that was removed
      return false;
    }
    if (there.isEqualNode(next)) continue;
    const focus = there.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    there.replaceWith(next);
    if (focus) next.querySelector(`[href="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
  }
  document.title = fresh.title;
  return true;
}

// live follows the server's events while the page can be seen.
let stream = null;
function live() {
  const wanted = !document.hidden && document.querySelector("[data-live]") !== null;
  if (!wanted && stream) {
    stream.close();
    stream = null;
  }
  if (!wanted || stream) return;
  stream = new EventSource("/events");
  stream.addEventListener("changed", () => show(location.href));
  stream.addEventListener("open", () => document.documentElement.classList.add("live"));
  stream.addEventListener("error", () => document.documentElement.classList.remove("live"));
}
document.addEventListener("visibilitychange", live);
live();

// Filters take effect as they are chosen.
const form = document.querySelector("form.filters");
if (form) {
  document.documentElement.classList.add("script");
  let timer = 0;
  const submit = () => {
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value) query.set(name, value);
    const address = query.size ? `/?${query}` : "/";
    history.replaceState(null, "", address);
    show(address);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  form.addEventListener("change", submit);
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(submit, 150);
  });
}
