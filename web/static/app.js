// The frame of the page: who is logged in, which view is shown, how the connection is.

import { html, render, useAsk, useEffect, useMemo, useRef, useState } from "./ui.js"
import * as api from "./api.js"
import { clean } from "./text.js"
import { clock } from "./format.js"
import { Model } from "./model.js"
import { parse, takeLogin, toJobs, topics } from "./route.js"
import { socket, sse } from "./transports.js"
import { Watch } from "./watch.js"
import { Job } from "./views/job.js"
import { Jobs } from "./views/jobs.js"
import { Login } from "./views/login.js"
import { Ask, Fault } from "./views/parts.js"

const time = {
  now: () => Date.now(),
  setTimeout: (f, ms) => setTimeout(f, ms),
  clearTimeout: (id) => clearTimeout(id),
}

// The tabs of a browser have one cookie: who logs in or out does it in all of them.
const tabs = new BroadcastChannel("rexgate")

function App() {
  const [session, setSession] = useState() // undefined: not known yet; null: nobody is logged in
  const [problem, setProblem] = useState()
  const [link, setLink] = useState("") // its code, while it is asked whether to follow it
  const [route, setRoute] = useState(() => parse(location.hash))

  useEffect(() => {
    const start = async (code) => {
      try {
        setSession(await api.whoAmI())
        // A link is anybody's: who is logged in doesn't become somebody else by it unasked.
        if (code) setLink(code)
      } catch (e) {
        if (code && e.status === 401) return follow(code)
        setSession(null)
        // That nobody is logged in needs no words.
        setProblem(e.status === 401 ? undefined : e)
      }
    }
    const follow = async (code) => {
      try {
        loggedIn(await api.login({ code }))
      } catch (e) {
        loggedOut(e)
      }
    }
    const moved = () => {
      const code = takeLogin(location, history)
      setRoute(parse(location.hash))
      if (code) start(code)
    }
    addEventListener("hashchange", moved)
    tabs.onmessage = () => start()
    start(takeLogin(location, history))
    setRoute(parse(location.hash))
    return () => removeEventListener("hashchange", moved)
  }, [])

  const loggedIn = (s) => {
    setProblem(undefined)
    setLink("")
    setSession(s)
    tabs.postMessage("login")
  }
  const loggedOut = (why) => {
    setProblem(why)
    setLink("")
    setSession(null)
  }
  if (session === undefined) return html`<${Bar} />`
  if (session === null) return html`<${Bar} /><${Login} problem=${problem} onLogin=${loggedIn} />`
  return html`<${Inside} key=${`${session.subject} ${session.expires}`} session=${session} route=${route} onLogout=${loggedOut} />
    ${link && html`<${Follow} code=${link} session=${session} onLogin=${loggedIn} onNo=${() => setLink("")} />`}`
}

// Follow asks who is logged in whether to follow a link that logs in.
function Follow({ code, session, onLogin, onNo }) {
  const [follow, { busy, problem }] = useAsk(async () => onLogin(await api.login({ code })))
  return html`<${Ask} title="Log in by this link?" action="Log in by the link" busy=${busy} problem=${problem} onYes=${follow} onNo=${onNo}
    text=${`You are logged in as ${clean(session.subject, 100)}. The link logs this browser, in all its tabs, in as the operator for whom it was made.`} />`
}

// Inside is what only those who are logged in see.
function Inside({ session, route, onLogout }) {
  const model = useMemo(() => new Model(), [])
  const memory = useRef({})
  const watch = useRef()
  const [status, setStatus] = useState({ state: "connecting" })
  const [seen, setSeen] = useState() // when what is shown was last true
  const last = useRef({})
  const heard = useRef()
  const place = useRef() // of the last watch, in what the model still knows
  const wanted = topics(route, session.scopes)
  const key = wanted.join(" ")

  useEffect(() => {
    model.watch(wanted)
    if (wanted.length === 0) {
      place.current = undefined
      return undefined
    }
    let timer
    const show = (s) => {
      if (last.current.state === "live" && s.state !== "live") setSeen(heard.current)
      last.current = s
      clearTimeout(timer)
      // Another view needs another connection: not worth a word if it comes soon.
      if (s.state === "connecting") timer = setTimeout(() => setStatus(s), 600)
      else setStatus(s)
    }
    const w = new Watch({
      topics: wanted, from: place.current, transports: [socket, sse], memory: memory.current, clock: time, random: Math.random,
      onMessage: (m) => model.apply(m),
      onError: (e) => reportError(e),
      onTime: (ms) => {
        heard.current = Date.now()
        model.time(ms)
      },
      onStatus: show,
      // In words for people: the gateway's are for programs, which send a token.
      onUnauthorized: () => onLogout({ detail: "the login has ended; log in again to go on here" }),
    })
    watch.current = w
    return () => {
      clearTimeout(timer)
      w.close()
      place.current = w.place()
    }
  }, [key])

  // What is back in sight or on the network doesn't wait for its turn.
  useEffect(() => {
    const now = () => !document.hidden && watch.current?.now()
    addEventListener("online", now)
    document.addEventListener("visibilitychange", now)
    return () => {
      removeEventListener("online", now)
      document.removeEventListener("visibilitychange", now)
    }
  }, [])

  // The cookie is the gateway's to take: without its answer this browser is still logged in.
  const [logout, { busy: leaving, problem: stays }] = useAsk(async () => {
    try {
      await api.logout()
    } catch (e) {
      if (e.status !== 401) throw new api.Problem({ ...e, detail: `You are still logged in on this browser: ${e.message}. Try again to log out.` })
    }
    tabs.postMessage("logout")
    onLogout()
  })
  return html`
    <${Bar}>
      <${Connection} status=${status} seen=${seen} />
      <span class="who">${clean(session.subject, 100)}</span>
      <button type="button" class="quiet" disabled=${leaving} onClick=${logout}>Log out</button>
    <//>
    ${stays && html`<div class="stays"><${Fault} problem=${stays} /></div>`}
    <div class="view ${{ live: "", refused: "refused" }[status.state] ?? "old"}">
      ${status.state === "refused" && html`<div class="page"><${Fault} problem=${status.problem ?? {}} /></div>`}
      <${View} model=${model} route=${route} session=${session} />
    </div>`
}

function View({ model, route, session }) {
  switch (route.view) {
    case "jobs": return html`<${Jobs} model=${model} />`
    case "job": return html`<${Job} key=${route.job} model=${model} id=${route.job} host=${route.host} session=${session} />`
  }
  return html`<main class="page"><h1>Nothing is here</h1><p><a href=${toJobs}>All jobs</a></p></main>`
}

const Bar = ({ children }) => html`<header class="top">
  <a class="brand" href=${toJobs}><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 20V9a5 5 0 0 1 5-5h6a5 5 0 0 1 5 5v11M12 20v-9M8.5 13.5L12 10l3.5 3.5" /></svg>rexgate</a>
  ${children}
</header>`

// Connection tells whether what is shown is what is.
function Connection({ status, seen }) {
  const [, tick] = useState(0)
  useEffect(() => {
    if (status.state !== "waiting") return undefined
    const timer = setInterval(() => tick((n) => n + 1), 250)
    return () => clearInterval(timer)
  }, [status])
  const since = seen && status.state !== "live" ? `; this is from ${clock(seen)}` : ""
  const left = Math.max(0, Math.ceil((status.until - Date.now()) / 1000))
  const text = { live: "Live", connecting: "Connecting", refused: "Refused", waiting: `Reconnecting in ${left} s` }[status.state]
  // Read out when it changes, not at each second of the countdown.
  const said = { live: "Live", connecting: "", refused: "Refused", waiting: "The connection is lost; reconnecting" }[status.state]
  return html`<span class="connection c-${status.state}" title=${status.transport === "sse" ? "over server-sent events" : ""}>
      <i aria-hidden="true" /><span aria-hidden="true">${text}<span class="since">${since}</span></span>
    </span><span class="live" role="status">${said}</span>`
}

render(html`<${App} />`, document.getElementById("app"))
