package queuetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rexgate/rexgate/queue"
)

func hostScenarios() []scenario {
	enroll := func(e *env, want queue.Code, n queue.Enrollment) queue.Host {
		e.Helper()
		h, err := e.s.Enroll(e.ctx, n)
		e.code(err, want, "Enroll %+v", n)
		return h
	}
	key := keyOf("key")
	return []scenario{
		{name: "enrolment", run: func(e *env) {
			n := queue.Enrollment{Host: "h", PublicKey: key, Labels: map[string]string{"role": "web"}, Token: "one"}
			h := enroll(e, "", n)
			if h.ID != "h" || h.Incarnation < 1 || h.Revoked || h.EnrolledAt.IsZero() || string(h.PublicKey) != string(key) || h.Labels["role"] != "web" {
				e.Errorf("enrolled as %+v", h)
			}
			same(e, "repeated under the same token", enroll(e, "", n).Incarnation, h.Incarnation)
			n.PublicKey = keyOf("other")
			enroll(e, queue.Conflict, n)
			same(e, "key after a conflict", string(e.host("h").PublicKey), string(key))
			n.Replace, n.Token = true, "two"
			again := enroll(e, "", n)
			same(e, "replaced", words(again.Incarnation > h.Incarnation, string(again.PublicKey)), words(true, string(n.PublicKey)))
			n.Replace, n.Token = false, "three"
			third := enroll(e, "", n)
			same(e, "the same key under another token raises", third.Incarnation > again.Incarnation, true)
		}},
		{name: "uses of a token", run: func(e *env) {
			n := queue.Enrollment{PublicKey: key, Token: "two uses", Uses: 2, Expires: e.now().Add(time.Hour)}
			for _, host := range []queue.HostID{"a", "b", "a", "b"} {
				n.Host = host
				enroll(e, "", n)
			}
			n.Host = "c"
			enroll(e, queue.Forbidden, n)
			_, err := e.s.Host(e.ctx, "c")
			e.code(err, queue.NotFound, "Host that was refused")
			n.Host, n.PublicKey, n.Replace = "a", keyOf("other"), true
			enroll(e, queue.Forbidden, n) // another pair is another use
			n.Token, n.Uses = "no bound", 0
			for i := range 5 {
				n.Host = queue.HostID(fmt.Sprint("host-", i))
				enroll(e, "", n)
			}
		}},
		{name: "invalid enrolments", run: func(e *env) {
			for _, n := range []queue.Enrollment{
				{Host: "no spaces", PublicKey: key},
				{Host: "", PublicKey: key},
				{Host: "h", PublicKey: key[:31]},
				{Host: "h", PublicKey: key, Labels: map[string]string{"a b": "x"}},
				{Host: "h", PublicKey: key, Labels: map[string]string{"a": "\x1b"}},
			} {
				enroll(e, queue.Invalid, n)
			}
			hosts, _, err := e.s.ListHosts(e.ctx, queue.HostQuery{Limit: 10})
			e.ok(err, "ListHosts")
			same(e, "hosts", len(hosts), 0)
		}},
		{name: "labels", run: func(e *env) {
			e.enroll("h")
			h, err := e.s.Label(e.ctx, "h", queue.LabelPatch{Set: map[string]string{"role": "web", "a": "1", "name": "x"}, Remove: []string{"a", "missing"}})
			e.ok(err, "Label")
			want := map[string]string{"role": "web", "a": "1", "name": "x"} // Set wins
			if !maps.Equal(h.Labels, want) || !maps.Equal(e.host("h").Labels, want) {
				e.Errorf("labels %v, then %v", h.Labels, e.host("h").Labels)
			}
			_, err = e.s.Label(e.ctx, "h", queue.LabelPatch{Remove: []string{"a", "name"}})
			e.ok(err, "Label")
			_, err = e.s.Label(e.ctx, "h", queue.LabelPatch{Set: map[string]string{"": "x"}})
			e.code(err, queue.Invalid, "Label with an empty key")
			many := map[string]string{}
			for i := range queue.MaxLabels {
				many[fmt.Sprint("k", i)] = ""
			}
			_, err = e.s.Label(e.ctx, "h", queue.LabelPatch{Set: many})
			e.code(err, queue.Invalid, "Label with one too many")
			if got := e.host("h").Labels; !maps.Equal(got, map[string]string{"role": "web"}) {
				e.Errorf("labels %v", got)
			}
			_, err = e.s.Label(e.ctx, "nobody", queue.LabelPatch{})
			e.code(err, queue.NotFound, "Label of an unknown host")
		}},
		{name: "Select", run: func(e *env) {
			e.enroll("d", "a", "c", "b")
			for _, h := range []queue.HostID{"a", "b", "d"} {
				_, err := e.s.Label(e.ctx, h, queue.LabelPatch{Set: map[string]string{"role": "web"}})
				e.ok(err, "Label")
			}
			e.ok(e.s.Revoke(e.ctx, "d"), "Revoke")
			choose := func(sel string, ids ...queue.HostID) (string, error) {
				s, err := queue.ParseSelector(sel)
				e.ok(err, "ParseSelector")
				ts, err := e.s.Select(e.ctx, s, ids)
				var got []string
				for _, x := range ts {
					got = append(got, string(x.Host))
					same(e, "incarnation", x.Incarnation, e.host(x.Host).Incarnation)
				}
				return strings.Join(got, " "), err
			}
			for sel, want := range map[string]string{"": "a b c", "role=web": "a b", "role!=web": "c", "role=db": "", "name in (a,d,c)": "a c"} {
				got, err := choose(sel)
				e.ok(err, "Select %s", sel)
				same(e, "Select "+sel, got, want)
			}
			got, err := choose("role=db", "c", "a")
			e.ok(err, "Select by ids")
			same(e, "Select by ids", got, "a c")
			_, err = choose("", "a", "nobody", "d", "who")
			e.code(err, queue.NotFound, "Select of unknown and revoked ids")
			if qe, ok := err.(*queue.Error); ok {
				slices.Sort(qe.Items)
				same(e, "Items", qe.Items, []string{"d", "nobody", "who"})
			}
			ts, err := e.s.Select(e.ctx, queue.Selector{}, []queue.HostID{})
			e.ok(err, "Select of no ids")
			same(e, "Select of no ids", len(ts), 0)
		}},
		{name: "listing", run: func(e *env) {
			e.enroll("e", "b", "a", "d", "B", "c")
			list := func(q queue.HostQuery) string {
				e.Helper()
				var got []string
				for {
					page, next, err := e.s.ListHosts(e.ctx, q)
					e.ok(err, "ListHosts")
					if len(page) > q.Limit || next != "" && len(page) == 0 {
						e.Fatalf("ListHosts of %d: %d, next %q", q.Limit, len(page), next)
					}
					for _, h := range page {
						got = append(got, string(h.ID))
					}
					if q.After = next; next == "" {
						return strings.Join(got, " ")
					}
				}
			}
			same(e, "by id, as bytes", list(queue.HostQuery{Limit: 2}), "B a b c d e")
			same(e, "in one page", list(queue.HostQuery{Limit: 1000}), "B a b c d e")
			sel, err := queue.ParseSelector("name in (a,c,e)")
			e.ok(err, "ParseSelector")
			same(e, "by selector", list(queue.HostQuery{Selector: sel, Limit: 2}), "a c e")
			e.ok(e.s.Alive(e.ctx, "gw-1", time.Minute), "Alive")
			e.agent("a")
			e.agent("d")
			on, off := true, false
			same(e, "online", list(queue.HostQuery{Online: &on, Limit: 1}), "a d")
			same(e, "offline", list(queue.HostQuery{Online: &off, Limit: 3}), "B b c e")
			same(e, "online by selector", list(queue.HostQuery{Selector: sel, Online: &on, Limit: 3}), "a")
			e.ok(e.s.Revoke(e.ctx, "b"), "Revoke")
			e.ok(e.s.DeleteHost(e.ctx, "c"), "DeleteHost")
			same(e, "with the revoked, without the deleted", list(queue.HostQuery{Limit: 10}), "B a b d e")
		}},
		{name: "facts select nothing", run: func(e *env) {
			e.enroll("h")
			e.agent("h", func(c *queue.Claim) { c.Facts = map[string]string{"role": "web", "name": "other"} })
			sel, _ := queue.ParseSelector("role=web")
			ts, err := e.s.Select(e.ctx, sel, nil)
			e.ok(err, "Select")
			same(e, "hosts", len(ts), 0)
			same(e, "label", e.host("h").Labels["name"], "h")
		}},
		{name: "unknown hosts", run: func(e *env) {
			_, err := e.s.Host(e.ctx, "nobody")
			e.code(err, queue.NotFound, "Host")
			e.code(e.s.Revoke(e.ctx, "nobody"), queue.NotFound, "Revoke")
			e.code(e.s.DeleteHost(e.ctx, "nobody"), queue.NotFound, "DeleteHost")
		}},
	}
}
