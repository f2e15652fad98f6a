// Sign-in. The server gives one answer for an unknown address and a wrong password, and so does this page.

import { useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, signIn } from '../api/client';
import { session } from '../api/session';
import { navigate, useLocation } from '../router';
import { useTitle } from '../ui/title';
import { Mark } from '../ui/icons';
import { Problem } from '../ui/parts';

/** Only paths of this origin: an address from outside must not be where a sign-in leads. */
function backFrom(search: URLSearchParams): string {
  const back = search.get('back') ?? '/';
  return back.startsWith('/') && !back.startsWith('//') && !back.includes('\\') && !back.startsWith('/sign-in') ? back : '/';
}

export function SignInPage() {
  useTitle('Sign in');
  const { search } = useLocation();
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const [stay, setStay] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError>();
  const passwordField = useRef<HTMLInputElement>(null);
  const back = backFrom(search);
  useEffect(() => {
    if (session()) navigate(back, true);
  }, [back]);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setError(undefined);
    try {
      await signIn(email.trim(), password, stay);
      navigate(back, true);
    } catch (e) {
      const failure = e as ApiError;
      setError(failure.status === 401 ? new ApiError(422, { title: 'Sign-in failed', detail: 'The address or the password is wrong.' }) : failure);
      setPassword('');
      passwordField.current?.focus();
    } finally {
      setBusy(false);
    }
  };
  return (
    <div class="sign">
      <main class="sign-form">
        <div class="brand sign-brand"><Mark size={34} />Forewarn</div>
        <h1 tabIndex={-1}>Sign in</h1>
        <p class="soft">{back === '/' ? 'To the fleet of your plant.' : 'Then on to the page you asked for.'}</p>
        <form onSubmit={submit}>
          {error && <Problem error={error} />}
          <label class="field"><span>E-mail</span>
            <input type="email" name="email" autocomplete="username" required autoFocus value={email} onInput={(e) => setEmail(e.currentTarget.value)} />
          </label>
          <label class="field"><span>Password</span>
            <input ref={passwordField} type="password" name="password" autocomplete="current-password" required value={password} onInput={(e) => setPassword(e.currentTarget.value)} />
          </label>
          <label class="check"><input type="checkbox" checked={stay} onChange={(e) => setStay(e.currentTarget.checked)} />Stay signed in on this device</label>
          <button type="submit" class="btn primary" disabled={busy}>{busy ? 'Signing in …' : 'Sign in'}</button>
        </form>
      </main>
      <aside class="sign-art" aria-hidden="true"><FallingCurve /><p>Failures announce themselves. Forewarn listens to every reading, and says which machine, why, and how long is left.</p></aside>
    </div>
  );
}

/** The P-F curve: condition over time, the point where it can be known, the point where it fails. */
function FallingCurve() {
  return (
    <svg viewBox="0 0 560 300" fill="none">
      <path d="M20 20v250h520" stroke="#ffffff40" stroke-width="1.500" />
      <path d="M20 190h520" stroke="#ffffff33" stroke-width="1.500" stroke-dasharray="4 6" />
      <path d="M20 58c24-5 34 4 56 0s30-4 54 1 34-4 56 0 30 5 48 6c86 6 128 58 170 148" stroke="#f4f2ec" stroke-width="3" stroke-linecap="round" />
      <path d="M404 213c6 14 14 30 24 52" stroke="#f4f2ec" stroke-width="3" stroke-linecap="round" stroke-dasharray="1 9" />
      <path d="M234 65C380 66 462 120 512 270H414C384 150 330 84 234 65Z" fill="#e3a52c" opacity="0.200" />
      <path d="M234 65V270M404 213V270" stroke="#ffffff55" stroke-width="1.500" stroke-dasharray="2 5" />
      <path d="M240 240h158M240 240l7-4M240 240l7 4M398 240l-7-4M398 240l-7 4" stroke="#e3a52c" stroke-width="1.500" />
      <circle cx="234" cy="65" r="8" fill="#e3a52c" />
      <path d="M396 213l8-8 8 8-8 8Z" fill="#e98a7b" />
      <g fill="#d7dfdd" font-size="14" font-family="inherit"><text x="248" y="54">it can be known</text><text x="422" y="216">it fails</text><text x="278" y="230">time to act</text><text x="30" y="34">condition</text><text x="504" y="290">time</text></g>
    </svg>
  );
}
