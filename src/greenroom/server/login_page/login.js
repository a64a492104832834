// The login page: posts a one-time code that came in the address's fragment, or what a person pastes.
//
// Opening a link must not log a browser in: another page would choose in whose account the person works, and mail programs, scanners and
// chat previews open links before their reader does, which would use the code up. So a code is posted when a person presses the button.
// The exception is the link that `greenroom serve` prints or opens on this machine: no page led here, no preview elsewhere can reach it,
// and the server accepts an unconfirmed code only if it is the operator's own.
'use strict';

const CODE = /(?:^|[#&?])code=(grc_[\w-]+)/;
const LOGIN_PATH = '/login';
const THIS_MACHINE = /^(localhost|127(\.\d+){3}|\[::1\])$/;

const arrival = document.documentElement.dataset.arrival;
const form = document.getElementById('login');
const field = document.getElementById('credential');
const button = form.querySelector('button');
const told = document.getElementById('told');
const asked = document.getElementById('asked');

let code = taken();

function taken() {
  const found = CODE.exec(location.hash);
  // Neither a code nor an old link's token stays in the address or the history.
  if (location.hash || location.search) history.replaceState(null, '', location.pathname);
  return found ? found[1] : null;
}

function goOn() {
  location.replace(location.pathname === LOGIN_PATH ? '/' : location.pathname);
}

async function isLoggedIn() {
  const answer = await fetch('/v1/login', { cache: 'no-store' });
  return answer.ok;
}

async function post(body) {
  button.disabled = true;
  told.textContent = '';
  try {
    const answer = await fetch('/v1/login', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      cache: 'no-store',
    });
    if (answer.ok) return goOn();
    const { error } = await answer.json();
    if (body.confirmed === false && answer.status === 409) {
      button.disabled = false;
      return showForm();
    }
    // A link that was used already is no trouble in the browser that used it.
    if (body.code && answer.status === 401 && (await isLoggedIn())) return goOn();
    if (answer.status === 401) code = null; // after any other answer it is still good
    told.textContent = sentence(error.message) + (error.hint ? ' ' + sentence(error.hint) : '');
  } catch {
    told.textContent = 'The server cannot be reached. Try again in a moment.';
  }
  button.disabled = false;
  showForm();
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');
}

function showForm() {
  asked.hidden = code === null;
  field.required = code === null;
  field.hidden = field.labels[0].hidden = code !== null;
  (code === null ? field : button).focus();
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  if (button.disabled) return;
  const text = field.value.trim();
  const pasted = CODE.exec(text) ?? /^(grc_[\w-]+)$/.exec(text);
  if (code !== null) post({ code });
  else if (pasted) post({ code: pasted[1] });
  else if (text) post({ token: /[?&]token=([^&\s]+)/.exec(text)?.[1] ?? text });
});

// A link that is pasted over the address of this page changes only the fragment; so may a page that opened this one.
addEventListener('hashchange', () => {
  code = taken() ?? code;
  showForm();
});

showForm();
if (code !== null && arrival === 'direct' && THIS_MACHINE.test(location.hostname)) post({ code, confirmed: false });
else if (code === null && arrival === 'other' && location.pathname !== LOGIN_PATH) {
  // The cookie does not come along when another site leads here; asked by a page of our own, it does.
  isLoggedIn().then((is) => {
    if (is) goOn();
  }, () => {});
}
