package redisqueue

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// repack writes the fields of a host or a job as Lua does.
func repack(r row) string {
	var p packer
	var put func(v any)
	put = func(v any) {
		switch v := v.(type) {
		case int64:
			p.int(v)
		case string:
			p.str(v)
		case []any:
			p.array(len(v))
			for _, e := range v {
				put(e)
			}
		case map[string]any:
			p.dict(len(v))
			for k, e := range v {
				p.str(k)
				put(e)
			}
		default:
			panic(fmt.Sprintf("a field of type %T", v))
		}
	}
	for _, v := range r {
		put(v)
	}
	return p.String()
}

// change rewrites the fields of a value in a hash.
func (b *shop) change(key, name string, fn func(r row) row) {
	b.t.Helper()
	v, err := b.s.rdb.HGet(b.ctx, key, name).Result()
	b.must(err)
	r, err := unpackFields(v)
	b.must(err)
	b.must(b.s.rdb.HSet(b.ctx, key, name, repack(fn(r))).Err())
}

// everything tells what is stored, but for the scores of leases, which move with the clock.
func (b *shop) everything() map[string]string {
	b.t.Helper()
	all := make(map[string]string)
	keys, err := b.s.rdb.Keys(b.ctx, "*").Result()
	b.must(err)
	for _, key := range keys {
		kind, err := b.s.rdb.Type(b.ctx, key).Result()
		b.must(err)
		switch kind {
		case "hash":
			fields, err := b.s.rdb.HGetAll(b.ctx, key).Result()
			b.must(err)
			for name, v := range fields {
				if r, err := unpackFields(v); err == nil && strings.HasSuffix(key, ":own") {
					v = fmt.Sprint(r) // numbers may be packed in two ways
				} else if err == nil && strings.HasSuffix(key, ":d") && strings.HasPrefix(name, "c") {
					v = fmt.Sprint(r)
				}
				all[key+" "+name] = v
			}
		case "zset":
			members, err := b.s.rdb.ZRangeWithScores(b.ctx, key, 0, -1).Result()
			b.must(err)
			for _, m := range members {
				score := ""
				if strings.HasSuffix(key, ":expiry") || strings.HasSuffix(key, ":delayed") {
					score = fmt.Sprint(m.Score)
				}
				all[key+" "+m.Member.(string)] = score
			}
		}
	}
	return all
}

func (b *shop) submit(change func(*queue.Job), targets ...queue.Target) queue.JobID {
	b.t.Helper()
	n := b.job()
	n.Targets = targets
	change(&n.Job)
	_, _, err := b.s.Submit(b.ctx, n)
	b.must(err)
	return n.Job.ID
}

func (b *shop) released(change func(*queue.Job), targets ...queue.Target) queue.JobID {
	b.t.Helper()
	id := b.submit(change, targets...)
	x, err := b.s.Expand(b.ctx, id, "driver", 1000)
	b.must(err)
	if !x.Done {
		b.t.Fatalf("Expand: %+v", x)
	}
	return id
}

func (b *shop) claim(t queue.Target, transport queue.Transport) queue.Claimed {
	b.t.Helper()
	due := time.Duration(0)
	if transport == queue.TransportPoll {
		due = time.Minute
	}
	c, err := b.s.Claim(b.ctx, queue.Claim{Host: t.Host, Incarnation: t.Incarnation, Gateway: "gw", Transport: transport, Due: due, Generation: "g"})
	b.must(err)
	return c
}

func (b *shop) lease(host queue.HostID, c queue.Claimed) []queue.Delivery {
	b.t.Helper()
	l, err := b.s.Lease(b.ctx, queue.Fetch{Host: host, Session: c.Session, Gateway: "gw", After: c.N, Max: 1, Due: time.Minute})
	b.must(err)
	return l.Deliveries
}

// Reconcile repairs each kind of damage, names it, and leaves what was there before; then it finds nothing.
func TestReconcileRepairs(t *testing.T) {
	b := newShop(t, 2)
	target, other := b.targets[0], b.targets[1]
	host, p, k, rdb := target.Host, partition(target.Host), b.s.k, b.s.rdb
	plain := func(*queue.Job) {}
	keyed := func(j *queue.Job) { j.Spec.SupersedeKey = "k" }
	older := b.released(keyed, target)
	ended, err := rdb.ZRange(b.ctx, k.queue(p, host), 0, 0).Result() // its place in the queue
	b.must(err)
	queued := b.released(keyed, target) // older has ended by it
	delayed := b.released(func(j *queue.Job) { j.Spec.NotBefore = time.Now().Add(time.Hour) }, target)
	planned := b.submit(keyed, target)
	leased := b.released(plain, other)
	b.claim(target, queue.TransportSocket)
	if got := b.lease(other.Host, b.claim(other, queue.TransportSocket)); len(got) != 1 {
		t.Fatalf("leased %+v", got)
	}
	po := partition(other.Host)
	d, scope := k.part(p, "d"), field(host, queue.JobID((queue.Job{Spec: queue.Spec{SupersedeKey: "k"}}).SupersedeScope()))
	add := func(key, member string) func() {
		return func() { b.must(rdb.Do(b.ctx, "ZADD", key, 1e17, member).Err()) }
	}
	drop := func(key, member string) func() { return func() { b.must(rdb.ZRem(b.ctx, key, member).Err()) } }
	set := func(name, value string) func() { return func() { b.must(rdb.HSet(b.ctx, d, name, value).Err()) } }
	flying := func(p int, h queue.HostID, list ...any) func() {
		return func() {
			b.change(k.part(p, "own"), string(h), func(r row) row { r[oFlying-1] = list; return r })
		}
	}
	stamped := func(id queue.JobID, us int64) string {
		return string([]byte{0, 0, byte(us >> 40), byte(us >> 32), byte(us >> 24), byte(us >> 16), byte(us >> 8), byte(us)}) + string(id)
	}
	nobody := queue.NewJobID(time.Now())
	damage := []struct {
		want string
		do   func()
	}{
		{"state byte was s, it is q", set(string(queued)+":0", "s")},
		{"state byte was r, it is planned", set(string(planned)+":0", "r")},
		{"missing in the queue", func() { b.must(rdb.Del(b.ctx, k.queue(p, host)).Err()) }},
		{"left in the queue", func() { b.must(rdb.Do(b.ctx, "ZADD", k.queue(p, host), 0, ended[0]).Err()) }},
		{"missing in lease", drop(k.part(po, "lease"), field(other.Host, leased))},
		{"left in lease", add(k.part(p, "lease"), field(host, queued))},
		{"missing in expiry", drop(k.part(p, "expiry"), field(host, queued))},
		{"left in expiry", add(k.part(p, "expiry"), field(host, older))},
		{"missing in delayed", drop(k.part(p, "delayed"), field(host, delayed))},
		{"left in delayed", add(k.part(p, "delayed"), field(host, queued))},
		{"was in expiry at 100000000000000000", add(k.part(p, "expiry"), field(host, queued))},
		{"was in delayed at 100000000000000000", add(k.part(p, "delayed"), field(host, delayed))},
		{"missing in ready", drop(k.part(p, "ready"), "gw\x00"+string(host))},
		{"left in ready", add(k.part(po, "ready"), "gw\x00"+string(other.Host))},
		{"in no slot", flying(po, other.Host)},
		{"left in a slot", flying(p, host, string(older), "default")},
		{"missing as the newest", func() { b.must(rdb.HDel(b.ctx, d, scope).Err()) }},
		{"missing as the newest", set(scope, stamped(older, 1))},
		{string(nobody) + " was left as the newest", set(scope, stamped(nobody, 1<<47))},
		{string(planned) + " was left as the newest", set(scope, stamped(planned, 1<<47))},
		{"counter of q was 7, it is 1", func() {
			b.change(d, "c"+string(queued), func(r row) row { r.row(cCounts)[1] = int64(7); return r })
		}},
		{"counter of s was 1, it is 0", func() {
			b.change(d, "c"+string(queued), func(r row) row { r.row(cCounts)[5] = int64(1); return r })
		}},
		{"unknown to retention", drop(k.jobs("live"), string(queued))},
	}
	whole := b.everything()
	if lines, err := b.s.Reconcile(b.ctx, 10); len(lines) != 0 || err != nil {
		t.Fatalf("before any damage: %q, %v", lines, err)
	}
	for _, x := range damage {
		x.do()
		if maps.Equal(b.everything(), whole) {
			t.Errorf("%s: nothing was damaged", x.want)
		}
		repairs, err := b.s.Reconcile(b.ctx, 10)
		b.must(err)
		if !strings.Contains(strings.Join(repairs, "\n"), x.want) {
			t.Errorf("%s: repairs %q", x.want, repairs)
		}
		now := b.everything()
		for _, name := range slices.Sorted(maps.Keys(whole)) {
			if v, ok := now[name]; !ok || v != whole[name] {
				t.Errorf("%s: %q is %q (%v), it was %q", x.want, name, v, ok, whole[name])
			}
			delete(now, name)
		}
		for name := range now {
			t.Errorf("%s: %q is left", x.want, name)
		}
		if repairs, err = b.s.Reconcile(b.ctx, 10); len(repairs) != 0 || err != nil {
			t.Errorf("%s: again %q, %v", x.want, repairs, err)
		}
		whole = b.everything()
	}
	// What remembers a job that is gone, with nothing released that it could be told from.
	b.must(rdb.HSet(b.ctx, k.part(po, "d"), strings.Replace(scope, string(host), string(other.Host), 1), stamped(nobody, 1<<47)).Err())
	alone := b.submit(keyed, other)
	if repairs, err := b.s.Reconcile(b.ctx, 10); len(repairs) != 1 || err != nil {
		t.Errorf("a job that nothing tells from: %q, %v", repairs, err)
	}
	if x, err := b.s.Expand(b.ctx, alone, "driver", 10); x.Released != 1 || err != nil {
		t.Errorf("Expand: %+v, %v", x, err)
	}
	// A record that is gone.
	b.must(rdb.HDel(b.ctx, d, field(host, delayed)).Err())
	repairs, err := b.s.Reconcile(b.ctx, 10)
	if err != nil || !strings.Contains(strings.Join(repairs, "\n"), "its record is missing") {
		t.Errorf("a lost record: %q, %v", repairs, err)
	}
	if x, err := b.s.Execution(b.ctx, delayed, host); err != nil || x.State != queue.Lost {
		t.Errorf("what lost its record is %v, %v", x.State, err)
	}
}

// What is being erased is left alone: a record that is gone isn't lost.
func TestReconcileBesideRetention(t *testing.T) {
	b := newShop(t, 300)
	byPart := make(map[int][]queue.Target)
	p := -1
	for _, target := range b.targets {
		at := partition(target.Host)
		if byPart[at] = append(byPart[at], target); len(byPart[at]) == 3 && p < 0 {
			p = at
		}
	}
	if p < 0 {
		t.Fatal("no partition has three hosts")
	}
	id := b.released(func(j *queue.Job) { j.Spec.SupersedeKey = "k" }, byPart[p]...)
	_, err := b.s.Cancel(b.ctx, id, nil, "bob")
	b.must(err)
	if repairs, err := b.s.Reconcile(b.ctx, 10); len(repairs) != 0 || err != nil {
		t.Fatalf("before: %q, %v", repairs, err)
	}
	// What Reconcile has read before retention takes the job, and asks for after that has begun.
	info, err := b.s.known(b.ctx, id)
	b.must(err)
	targets, err := b.s.partTargets(b.ctx, info, p)
	b.must(err)
	if gone, err := b.s.remove(b.ctx, id, "record"); !gone || err != nil {
		t.Fatalf("remove: %v, %v", gone, err)
	}
	for range len(targets) - 1 {
		if done, err := (&sweep{s: b.s, left: 1}).erasePart(b.ctx, info, p, info.job.CreatedAt.UnixMicro(), "record"); done || err != nil {
			t.Fatalf("one step of erasing: %v, %v", done, err)
		}
		calls := []*call{b.s.verifyCall(id, p, targets, 0), b.s.verifyCall(id, p, nil, 0)}
		b.must(b.s.runAll(b.ctx, calls))
		for _, c := range calls {
			if lines := c.val.([]any); len(lines) != 0 {
				t.Errorf("of what is being erased: %q", lines)
			}
		}
	}
	b.sweep(queue.Retention{RecordAge: time.Hour})
	for _, left := range b.traces(id) {
		t.Errorf("left: %q", left)
	}
}

// Retention may remove the newest job of a key before older ones: nothing is wrong then.
func TestReconcileAfterNewestRemoved(t *testing.T) {
	b := newShop(t, 1)
	keyed := func(j *queue.Job) { j.Spec.SupersedeKey = "k" }
	b.released(keyed, b.targets...)
	newer := b.released(keyed, b.targets...)
	_, err := b.s.Cancel(b.ctx, newer, nil, "bob")
	b.must(err)
	if gone, err := b.s.remove(b.ctx, newer, "record"); !gone || err != nil {
		t.Fatalf("remove: %v, %v", gone, err)
	}
	b.sweep(queue.Retention{})
	if repairs, err := b.s.Reconcile(b.ctx, 10); len(repairs) != 0 || err != nil {
		t.Errorf("%q, %v", repairs, err)
	}
}
