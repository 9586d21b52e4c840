package live

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// reader is one watch of a topic, and what it knows by what it was told.
type reader struct {
	t      *testing.T
	topic  Topic
	view   View
	seq    int64
	whole  int // snapshots
	steps  int // deltas
	jobs   map[queue.JobID]queue.JobStatus
	job    queue.JobStatus
	states []byte
	run    *queue.Execution
	reason *queue.Wait
	output []queue.Chunk
	bytes  int64
}

func open(t *testing.T, v *Views, topic Topic) *reader {
	t.Helper()
	r := &reader{t: t, topic: topic, jobs: map[queue.JobID]queue.JobStatus{}}
	r.again(v, "")
	return r
}

// again opens the watch at a cursor, on these or on other views.
func (r *reader) again(v *Views, cursor string) {
	r.t.Helper()
	p, ok := ParseCursor(cursor).At(r.topic)
	view, err := v.Open(r.topic, p, ok)
	if err != nil {
		r.t.Fatal(err)
	}
	r.view = view
}

// cursor is where it stands.
func (r *reader) cursor() string { return Cursor{{r.topic, r.view.Position()}}.String() }

// step takes one update, if there is any.
func (r *reader) step() bool {
	r.t.Helper()
	u, err := r.view.Next(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if u == nil {
		return false
	}
	if u.Snapshot {
		r.whole++
		r.jobs, r.output, r.bytes = map[queue.JobID]queue.JobStatus{}, nil, 0
	} else if r.steps++; u.Prev != r.seq || u.Seq <= u.Prev {
		r.t.Fatalf("from %d to %d, where %d is known", u.Prev, u.Seq, r.seq)
	}
	r.seq = u.Seq
	for _, j := range u.Jobs {
		r.jobs[j.ID] = j
	}
	for _, id := range u.Removed {
		delete(r.jobs, id)
	}
	if u.Job != nil {
		r.job = *u.Job
	}
	if u.States != nil {
		r.states = slices.Clone(u.States)
	}
	for _, c := range u.Changes {
		r.states[c.Ordinal] = byte(c.State)
	}
	if u.Execution != nil {
		r.run, r.reason = u.Execution, u.Why
	}
	size := 0
	for _, c := range u.Output {
		if n := len(r.output); n > 0 && r.output[n-1].Seq >= c.Seq || c.Offset != r.bytes {
			r.t.Fatalf("chunk %d at %d behind byte %d", c.Seq, c.Offset, r.bytes)
		}
		r.output, r.bytes = append(r.output, c), r.bytes+int64(len(c.Data))
		size += len(c.Data)
	}
	if size > updateBytes || len(u.Output) > updateChunks {
		r.t.Fatalf("%d bytes in %d chunks at once", size, len(u.Output))
	}
	return true
}

// drain takes all that there is after a pause in which all readers have read.
func (r *reader) drain() {
	r.t.Helper()
	for range 3 {
		for r.step() {
		}
		time.Sleep(6 * time.Second)
	}
}

func TestJobsInSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		v := NewViews(b)
		defer v.Close()
		for i := range 51 {
			b.job(queue.NewJobID(time.UnixMilli(int64(1+i))), 4)
		}
		quick, slow := open(t, v, Topic{}), open(t, v, Topic{})
		defer quick.view.Close()
		defer slow.view.Close()
		quick.drain()
		slow.drain()
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range 400 {
			switch rng.IntN(5) {
			case 0:
				b.job(queue.NewJobID(time.UnixMilli(int64(100+i))), 4)
			case 1:
				b.do(func() { // so that one that had gone from the newest comes back
					if k := rng.IntN(len(b.list)); k > 0 {
						b.list = slices.Delete(slices.Clone(b.list), k, k+1)
					}
				})
			default:
				b.do(func() {})
				j := b.list[rng.IntN(len(b.list))].ID
				b.move(j, rng.IntN(4), queue.Running)
			}
			time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
			quick.step()
			if i%50 == 49 {
				slow.step()
			}
		}
		for _, r := range []*reader{quick, slow} {
			r.drain()
			want := map[queue.JobID]queue.JobStatus{}
			for _, j := range b.list[:min(50, len(b.list))] {
				want[j.ID] = j
			}
			if !maps.EqualFunc(r.jobs, want, SameJob) {
				t.Errorf("knows %d jobs, there are %d", len(r.jobs), len(want))
			}
		}
		if quick.whole != 1 || slow.steps > 12 {
			t.Errorf("quick: %d snapshots; slow: %d steps", quick.whole, slow.steps)
		}
	})
}

// The states of a job, as told in steps to those who read often and to those who don't.
func TestJobInSteps(t *testing.T) {
	for _, hosts := range []int{1, 7, 100, 5000} {
		t.Run(fmt.Sprint(hosts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBoard()
				v := NewViews(b)
				defer v.Close()
				b.job(jobA, hosts)
				topic := Topic{Job: jobA}
				quick, slow, coming := open(t, v, topic), open(t, v, topic), open(t, v, topic)
				all := []*reader{quick, slow, coming}
				for _, r := range all {
					r.drain()
				}
				rng := rand.New(rand.NewPCG(uint64(hosts), 2))
				for i := range 300 {
					for range rng.IntN(1 + hosts/10) {
						b.move(jobA, rng.IntN(hosts), queue.Running)
					}
					if i%50 == 0 { // many at once
						for k := range hosts / 2 {
							b.move(jobA, k, queue.States()[rng.IntN(4)])
						}
					}
					time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
					v.Changed(jobA)
					quick.step()
					if i%70 == 69 {
						slow.step()
					}
					if i%10 == 9 {
						cursor := coming.cursor()
						coming.view.Close()
						coming.again(v, cursor)
						coming.step()
					}
				}
				for _, r := range all {
					r.drain()
					if string(r.states) != string(b.states[jobA]) || !SameJob(r.job, b.list[0]) {
						t.Errorf("knows other states than there are")
					}
					if r.whole != 1 {
						t.Errorf("%d snapshots", r.whole)
					}
					r.view.Close()
				}
			})
		})
	}
}

// Who comes back after more has happened than is remembered, or with what another gateway gave,
// gets a snapshot.
func TestJobBeyondHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		v, other := NewViews(b), NewViews(b)
		defer v.Close()
		defer other.Close()
		b.job(jobA, 2000)
		r, busy := open(t, v, Topic{Job: jobA}), open(t, v, Topic{Job: jobA})
		defer busy.view.Close()
		r.drain()
		cursor := r.cursor()
		r.view.Close()
		for i := range historySteps + 10 {
			b.move(jobA, i, queue.Running)
			v.Changed(jobA)
			time.Sleep(time.Second)
			busy.step()
		}
		for _, c := range []struct {
			views  *Views
			cursor string
		}{{v, cursor}, {other, busy.cursor()}, {v, strings.Replace(busy.cursor(), ".", "9.", 1)}, {v, "job:" + string(jobA) + "~" + strings.Split(strings.Split(cursor, "~")[1], ".")[0] + ".99999"}} {
			before := r.whole
			r.again(c.views, c.cursor)
			r.drain()
			if r.whole != before+1 || string(r.states) != string(b.states[jobA]) {
				t.Errorf("%s: %d snapshots", c.cursor, r.whole-before)
			}
			r.view.Close()
		}
	})
}

// A job that has ended is left alone, but for a look whether it is still there.
func TestEndedJobIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		v := NewViews(b)
		defer v.Close()
		b.job(jobA, 2)
		b.move(jobA, 0, queue.Succeeded)
		b.move(jobA, 1, queue.Lost)
		r := open(t, v, Topic{Job: jobA})
		r.drain()
		if string(r.states) != "sx" {
			t.Errorf("%q", r.states)
		}
		b.do(func() { delete(b.states, jobA) }) // which aren't read any more
		r.drain()
		b.do(func() { b.list = nil })
		time.Sleep(6 * time.Second)
		if _, err := r.view.Next(t.Context()); !Lasting(err) || queue.CodeOf(err) != queue.NotFound {
			t.Errorf("of a deleted job: %v", err)
		}
		r.view.Close()
	})
}

// An outage of the store passes.
func TestOutagePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		v := NewViews(b)
		defer v.Close()
		b.job(jobA, 1)
		x := b.run(jobA, "h")
		var rs []*reader
		for _, topic := range []Topic{{}, {Job: jobA}, {Job: jobA, Host: "h"}} {
			r := open(t, v, topic)
			defer r.view.Close()
			r.drain()
			rs = append(rs, r)
		}
		b.do(func() { b.err = queue.Errorf(queue.Unavailable, "away") })
		for _, r := range rs {
			r.drain() // no error, and nothing new
		}
		b.move(jobA, 0, queue.Running)
		b.do(func() { x.says(queue.Stdout, "one"); b.err = nil })
		for _, r := range rs {
			r.drain()
			if r.whole != 1 || r.steps == 0 {
				t.Errorf("%s: %d snapshots, %d steps", r.topic, r.whole, r.steps)
			}
		}
		if text(rs[2].output) != "one" {
			t.Errorf("%q", text(rs[2].output))
		}
	})
}
