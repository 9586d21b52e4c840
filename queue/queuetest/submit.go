package queuetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rexgate/rexgate/queue"
)

func submitScenarios() []scenario {
	refused := func(e *env, want queue.Code, n queue.NewJob) *queue.Error {
		e.Helper()
		_, created, err := e.s.Submit(e.ctx, n)
		e.code(err, want, "Submit")
		if created {
			e.Error("Submit: an error, and created")
		}
		if got := e.allJobs(); len(got) != 0 {
			e.Errorf("a refused submit left %d jobs", len(got))
		}
		qe, _ := err.(*queue.Error)
		if qe == nil {
			e.Fatalf("Submit: the error is a %T", err)
		}
		return qe
	}
	return []scenario{
		{name: "what is stored is what was submitted", run: func(e *env) {
			e.enroll("a", "b")
			old := e.submit([]queue.HostID{"a"})
			n := e.newJob("a", "b")
			n.Job.Spec = queue.Spec{
				Name: "näme", User: "www-data", Env: map[string]string{"A": "1", "B": "line\nbreak"}, Dir: "/srv", Lane: "batch", Priority: -7,
				NotBefore: e.now().Add(time.Hour).Truncate(time.Millisecond), PickupTimeout: 3 * time.Hour, RunTimeout: 90 * time.Second, OutputLimit: 12345, Grace: 3 * time.Second,
				Offline: queue.OfflineSkip, SupersedeKey: "kéy of: ann", Recheck: "role in (web),!retired",
			}
			n.Job.RerunOf, n.Job.CreatedBy, n.Job.Selection = old, "ann@example.com", "role in (web)"
			n.Script = slices.Concat([]byte("#!/bin/sh\n\x00\xff"), bytes.Repeat([]byte("x"), 100_000))
			n.Job.ScriptSize, n.Job.ScriptSHA256 = int64(len(n.Script)), queue.ScriptDigest(n.Script)
			j, created, err := e.s.Submit(e.ctx, n)
			e.ok(err, "Submit")
			same(e, "created", created, true)
			got := e.counters(n.Job.ID)
			if !got.CreatedAt.Equal(j.CreatedAt) || e.now().Sub(j.CreatedAt) > time.Minute || j.CreatedAt.After(e.now()) {
				e.Errorf("created at %v, then %v; now is %v", j.CreatedAt, got.CreatedAt, e.now())
			}
			if !got.Spec.NotBefore.Equal(n.Job.Spec.NotBefore) || !maps.Equal(got.Spec.Env, n.Job.Spec.Env) {
				e.Errorf("spec %+v, want %+v", got.Spec, n.Job.Spec)
			}
			text := func(j queue.Job) string {
				s := j.Spec
				return fmt.Sprint(j.ID, s.Name, s.User, s.Dir, s.Lane, s.Priority, s.PickupTimeout, s.RunTimeout, s.OutputLimit, s.Grace,
					s.Offline, s.SupersedeKey, s.Recheck,
					j.ScriptSize, j.ScriptSHA256, j.CreatedBy, j.RerunOf, j.Selection, j.Targets, j.Control)
			}
			n.Job.Targets, n.Job.Control = 2, queue.Active
			same(e, "job", text(got.Job), text(n.Job))
			same(e, "answer", text(j), text(n.Job))
			script, err := e.s.Script(e.ctx, n.Job.ID)
			e.ok(err, "Script")
			if !bytes.Equal(script, n.Script) {
				e.Errorf("script of %d bytes, want %d", len(script), len(n.Script))
			}
			same(e, "counters", nonZero(got.Counters), queue.Counters{queue.Planned: 2})
			if x := e.want(n.Job.ID, "a", queue.Planned); x.Lane != "batch" || x.Priority != -7 {
				e.Errorf("planned as %+v", x)
			}
		}},
		{name: "idempotency key", run: func(e *env) {
			e.enroll("h")
			n := e.newJob("h")
			n.IdempotencyKey, n.Digest = "ann:key", "d1"
			_, _, err := e.s.Submit(e.ctx, n)
			e.ok(err, "Submit")
			again := e.newJob("h")
			again.IdempotencyKey, again.Digest = "ann:key", "d1"
			j, created, err := e.s.Submit(e.ctx, again)
			e.ok(err, "Submit with the same key and digest")
			same(e, "the job of before", words(j.ID, created), words(n.Job.ID, false))
			again.Digest = "d2"
			_, _, err = e.s.Submit(e.ctx, again)
			e.code(err, queue.Conflict, "Submit with the same key and another digest")
			again.IdempotencyKey = "bob:key"
			j, created, err = e.s.Submit(e.ctx, again)
			e.ok(err, "Submit with another key")
			same(e, "another job", words(j.ID, created), words(again.Job.ID, true))
			same(e, "jobs", len(e.allJobs()), 2)
		}},
		{name: "idempotency key though its targets have gone", run: func(e *env) {
			e.enroll("h")
			n := e.newJob("h")
			n.IdempotencyKey, n.Digest = "k", "d"
			_, _, err := e.s.Submit(e.ctx, n)
			e.ok(err, "Submit")
			e.expand(n.Job.ID)
			e.ok(e.s.DeleteHost(e.ctx, "h"), "DeleteHost")
			j, created, err := e.s.Submit(e.ctx, n) // an operator repeats after a timeout
			e.ok(err, "Submit again")
			same(e, "the job of before", words(j.ID, created), words(n.Job.ID, false))
			j, found, err := e.s.Repeat(e.ctx, "k", "d") // without targets at all
			e.ok(err, "Repeat")
			same(e, "the job of before", words(j.ID, j.Targets, found), words(n.Job.ID, 1, true))
			_, found, err = e.s.Repeat(e.ctx, "k", "other")
			e.code(err, queue.Conflict, "Repeat with another digest")
			same(e, "found", found, false)
			_, found, err = e.s.Repeat(e.ctx, "other", "d")
			e.ok(err, "Repeat of nothing")
			same(e, "found", found, false)
		}},
		{name: "the same id again", run: func(e *env) {
			e.enroll("h")
			n := e.newJob("h")
			_, _, err := e.s.Submit(e.ctx, n)
			e.ok(err, "Submit")
			e.expand(n.Job.ID)
			j, created, err := e.s.Submit(e.ctx, n)
			e.ok(err, "Submit again")
			same(e, "the job of before", words(j.ID, created), words(n.Job.ID, false))
			e.want(n.Job.ID, "h", queue.Queued)
		}},
		{name: "a context that has ended", run: func(e *env) {
			a, d, job := e.taken("h")
			n := e.newJob("h")
			ended, cancel := context.WithCancel(e.ctx)
			cancel()
			for name, verb := range map[string]func() error{
				"Submit": func() error { _, _, err := e.s.Submit(ended, n); return err },
				"Job":    func() error { _, err := e.s.Job(ended, job); return err },
				"Lease":  func() error { _, err := e.s.Lease(ended, a.fetch(1)); return err },
			} {
				if err := verb(); err == nil {
					e.Errorf("%s succeeds", name)
				}
			}
			a.says("1 go", a.accepted(d)) // and harms nobody else
			_, _, err := e.s.Submit(e.ctx, n)
			e.ok(err, "Submit")
		}},
		{name: "unknown hosts", run: func(e *env) {
			e.enroll("h")
			n := e.newJob("h")
			for i := range 30 {
				n.Targets = append(n.Targets, queue.Target{Host: queue.HostID(fmt.Sprintf("nobody-%02d", i)), Incarnation: 1})
			}
			err := refused(e, queue.NotFound, n)
			if len(err.Items) != 20 || slices.Contains(err.Items, "h") {
				e.Errorf("the error names %q, want 20 of the unknown", err.Items)
			}
		}},
		{name: "hosts that aren't what they were", run: func(e *env) {
			e.enroll("ok", "anew", "revoked", "deleted")
			n := e.newJob("ok", "anew", "revoked", "deleted")
			e.reenroll("anew")
			e.ok(e.s.Revoke(e.ctx, "revoked"), "Revoke")
			e.ok(e.s.DeleteHost(e.ctx, "deleted"), "DeleteHost")
			err := refused(e, queue.NotFound, n)
			slices.Sort(err.Items)
			same(e, "Items", err.Items, []string{"anew", "deleted", "revoked"})
		}},
		{name: "invalid", run: func(e *env) {
			e.enroll("h")
			n := e.newJob("h")
			n.Targets = append(n.Targets, n.Targets[0])
			refused(e, queue.Invalid, n)
			n = e.newJob("h")
			n.Script = nil
			refused(e, queue.Invalid, n)
			n = e.newJob("h")
			n.Job.Spec.Priority = 1000
			refused(e, queue.Invalid, n)
		}},
		{name: "full", run: func(e *env) {
			a, d, job := e.taken("h")
			n := e.newJob("h")
			n.Script = bytes.Repeat([]byte("x"), queue.MaxScript)
			used, _, err := e.s.Room(e.ctx)
			e.ok(err, "Room")
			if used <= 0 {
				e.Errorf("Room: %d bytes are used", used)
			}
			e.in.SetRoom(used)
			if _, limit, err := e.s.Room(e.ctx); err != nil || limit != used {
				e.Errorf("Room: limit %d, error %v; want %d", limit, err, used)
			}
			_, _, err = e.s.Submit(e.ctx, n)
			e.code(err, queue.Full, "Submit to a full store")
			e.want(job, "h", queue.Leased)
			// results still fit
			a.says("4", a.accepted(d), a.started(d), a.output(d, 3, queue.Stdout, "x"), a.finished(d, 4, queue.Succeeded))
			e.in.SetRoom(1 << 40)
			_, created, err := e.s.Submit(e.ctx, n)
			e.ok(err, "Submit with room again")
			same(e, "created", created, true)
			e.in.SetRoom(0)
		}},
	}
}
