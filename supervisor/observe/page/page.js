// Keeps the page as the node is: asks for it again and takes over what has changed, so that whatever the reader has
// unfolded, focused, selected or typed stays as it is. Without this script the page reloads instead.
"use strict";

const EVERY = 5000;
const PATIENCE = 10000;
const AFTER_TYPING = 120;

const page = document.documentElement;
const form = () => document.getElementById("search");
const link = () => document.getElementById("link");

let tag = "";
let timer = 0;
let asking = null;
let answeredAt = document.getElementById("now")?.textContent ?? "";
let shownFor = location.search;
let unfolded = null; // before a search unfolded what it found

// --- asking -----------------------------------------------------------------------------------------------------------

async function refresh() {
  clearTimeout(timer);
  asking?.abort();
  const mine = (asking = new AbortController());
  const late = setTimeout(() => mine.abort(), PATIENCE);
  try {
    const query = location.search;
    const headers = tag ? { "If-None-Match": tag } : {};
    const answer = await fetch(location.pathname + query, { headers, cache: "no-store", signal: mine.signal });
    if (answer.status !== 200 && answer.status !== 304) throw new Error(`the server answers ${answer.status}`);
    const html = answer.status === 200 ? await answer.text() : "";
    if (mine !== asking) return;
    if (html) takeOver(new DOMParser().parseFromString(html, "text/html"), query);
    tag = answer.headers.get("ETag") ?? "";
    told(new Date(answer.headers.get("Date") ?? Date.now()));
  } catch (error) {
    if (mine !== asking) return; // a newer question has taken its place
    lost(error);
  } finally {
    clearTimeout(late);
    if (mine === asking && !document.hidden) timer = setTimeout(refresh, EVERY);
  }
}

function told(now) {
  page.classList.remove("lost");
  say("");
  const shown = document.getElementById("now");
  if (shown) {
    shown.dateTime = now.toISOString();
    answeredAt = shown.textContent = `${now.toISOString().slice(11, 19)} UTC`;
  }
  for (const time of document.querySelectorAll("time[title]")) {
    const words = ago((now - new Date(time.dateTime)) / 1000);
    if (time.textContent !== words) time.textContent = words;
  }
}

function lost(error) {
  page.classList.add("lost");
  const why = error instanceof Error && error.message.startsWith("the server") ? error.message : "no answer";
  say(`Connection lost (${why}). This is how it was at ${answeredAt}; trying again.`);
}

function say(words) {
  if (link() && link().textContent !== words) link().textContent = words;
}

function ago(seconds) {
  if (seconds < 2) return "just now";
  const units = [[60, 1, "s"], [3600, 60, "min"], [172800, 3600, "h"], [Infinity, 86400, "days"]];
  const [, size, unit] = units.find(([below]) => seconds < below);
  return `${Math.floor(seconds / size)} ${unit} ago`;
}

// --- taking over ------------------------------------------------------------------------------------------------------

function takeOver(fresh, query) {
  const open = openOnes(fresh);
  const searched = query !== shownFor;
  if (searched && query && !unfolded) unfolded = openOnes(document);
  shownFor = query;
  document.title = fresh.title;
  document.getElementById("icon").href = fresh.getElementById("icon").href;
  merge(document.body, fresh.body);
  if (!searched) return;
  const wanted = query ? open : (unfolded ?? open);
  for (const details of document.querySelectorAll("details")) details.open = wanted.has(details.id);
  if (!query) unfolded = null;
}

const openOnes = (page) => new Set([...page.querySelectorAll("details[open]")].map((details) => details.id));

function merge(old, fresh) {
  if (old.id === "link" || old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !ofTheReader(old, name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !ofTheReader(old, name)) old.setAttribute(name, value);
  }
  mergeChildren(old, fresh);
}

const ofTheReader = (element, name) => element.nodeName === "DETAILS" && name === "open";

// What has an id is the same thing wherever it stands; everything else is what stands at its place.
function mergeChildren(old, fresh) {
  const named = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  const staying = new Set([...fresh.children].map((child) => child.id));
  for (const [id, child] of named) if (!staying.has(id)) child.remove();
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const same = wanted.id ? named.get(wanted.id) : at && !at.id && at.nodeName === wanted.nodeName ? at : null;
    if (!same) {
      old.insertBefore(wanted, at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else old.insertBefore(same, at);
    merge(same, wanted);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// --- the reader -------------------------------------------------------------------------------------------------------

function search() {
  const given = new URLSearchParams([...new FormData(form())].filter(([, value]) => value.trim()));
  const query = given.size ? `?${given}` : "";
  if (query === location.search) return;
  history.replaceState(null, "", location.pathname + query);
  refresh();
}

let typing = 0;

document.addEventListener("input", (event) => {
  if (event.target.form !== form()) return;
  clearTimeout(typing);
  typing = setTimeout(search, AFTER_TYPING);
});

document.addEventListener("submit", (event) => {
  if (event.target !== form()) return;
  event.preventDefault();
  clearTimeout(typing);
  search();
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else refresh();
});

page.classList.add("live");
timer = setTimeout(refresh, EVERY);
