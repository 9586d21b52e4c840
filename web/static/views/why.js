import { html, useAsk, useEffect, useRef, useState } from "../ui.js"
import * as api from "../api.js"
import { clean } from "../text.js"
import { clock, number, plural, when } from "../format.js"
import { byReason, inShort, sentence } from "../why.js"
import { toHost, toJob } from "../route.js"
import { Fault } from "./parts.js"

const few = 3 // hosts of each reason
const most = 1000 // hosts that are asked for
const again = 10_000 // ms between two requests

// Why says why an execution hasn't ended.
export const Why = ({ why, now }) => sentence(why, now).map((p) => {
  if (p.job) return html`<a href=${toJob(p.job)}><code>${clean(p.job, 100)}</code></a>`
  if (p.at !== undefined) return html`<time datetime=${new Date(p.at).toISOString()}>${when(p.at, now)}</time>`
  return p.age ?? clean(p.text)
})

// WhyNot tells, while it is open, why the hosts of a job that haven't ended haven't.
export function WhyNot({ job, model }) {
  const [open, setOpen] = useState(false)
  const [known, setKnown] = useState()
  const [ask, { problem }] = useAsk(async () => {
    const list = await api.waiting(job.id, most)
    setKnown({ groups: byReason(list.executions, few), count: list.executions.length, more: Boolean(list.next), at: model.now() })
  })
  const latest = useRef()
  latest.current = ask
  useEffect(() => {
    if (!open) return undefined
    latest.current()
    const timer = setInterval(() => !document.hidden && latest.current(), again)
    return () => clearInterval(timer)
  }, [open])
  const now = model.now()
  return html`<details class="whynot" onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary>Why not yet? <span class="dim">${plural(job.outstanding, "host")}</span></summary>
    <${Fault} problem=${problem} />
    ${!known && !problem && html`<p class="dim waiting">Asking</p>`}
    ${known && html`<div class="reasons" tabindex="0">
      ${known.groups.map((g) => html`<section key=${g.code}>
        <h3>${clean(inShort(g.code), 60)} <b>${number(g.count)}</b></h3>
        <ul>
          ${g.first.map((x) => html`<li key=${x.host}><a href=${toHost(job.id, x.host)}>${clean(x.host, 200)}</a> <span><${Why} why=${x.why} now=${now} /></span></li>`)}
          ${g.count > g.first.length && html`<li class="dim">and ${number(g.count - g.first.length)} more</li>`}
        </ul>
      </section>`)}
      ${known.groups.length === 0 && html`<p class="dim">None is waiting any more.</p>`}
      <p class="dim">${known.more ? `Of the first ${number(known.count)} that haven't ended, as` : "As"} of ${clock(known.at - model.skew)}.</p>
    </div>`}
  </details>`
}
