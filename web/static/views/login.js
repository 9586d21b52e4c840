import { html, useAsk, useEffect, useRef, useTitle } from "../ui.js"
import * as api from "../api.js"
import { Fault } from "./parts.js"

// Login asks for a token. problem is why it is asked for, if something went wrong.
export function Login({ problem, onLogin }) {
  useTitle("Log in")
  const field = useRef()
  const [send, { busy, problem: wrong }] = useAsk(async () => {
    const token = field.current.value.trim()
    if (token === "") throw new api.Problem({ detail: "paste a token first" })
    const session = await api.login({ token })
    field.current.value = ""
    onLogin(session)
  })
  useEffect(() => field.current.focus(), [])
  const submit = (event) => {
    event.preventDefault()
    send()
  }
  return html`<main class="login">
    <form onSubmit=${submit}>
      <h1>Log in</h1>
      <label for="token">Operator token</label>
      <input id="token" ref=${field} type="password" autocomplete="off" spellcheck=${false} aria-describedby="token-hint" />
      <${Fault} problem=${wrong ?? problem} />
      <button type="submit" class="primary" disabled=${busy}>${busy ? "Logging in" : "Log in"}</button>
      <p id="token-hint" class="dim">It is what <code>rexgate token operator</code> wrote, the one that rexctl uses. This browser gets a cookie
      in its place, for 12 hours at most.</p>
    </form>
  </main>`
}
