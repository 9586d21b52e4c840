package live

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// Output is written in bursts and drops while readers read at their own pace, are cut off, and come
// back to one gateway or another with what they have: each gets every byte and every gap
// once, with one snapshot at the beginning.
func TestOutputExactly(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { outputExactly(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func outputExactly(t *testing.T, rng *rand.Rand) {
	b := newBoard()
	gates := []*Views{NewViews(b), NewViews(b)}
	defer gates[0].Close()
	defer gates[1].Close()
	topic := Topic{Job: jobA, Host: "h"}
	w := b.run(jobA, "h")
	write := func(n int) {
		b.do(func() {
			for range n {
				switch rng.IntN(6) {
				case 0:
					w.loses(1 + rng.Int64N(100))
				case 1:
					w.x.Stored++ // an event without output
				case 2:
					w.says(queue.Stderr, strings.Repeat(string(rune('a'+rng.IntN(26))), 1+rng.IntN(queue.MaxChunk)))
				default:
					w.says(queue.Stdout, string(rune('a'+rng.IntN(26))))
				}
			}
		})
		gates[0].Recorded([]queue.Ack{{Execution: queue.NewExecutionID(jobA, "h")}}) // the host hangs there
	}
	write(rng.IntN(50))
	var rs []*reader
	for i := range 4 {
		rs = append(rs, open(t, gates[i%2], topic))
	}
	for range 150 {
		switch rng.IntN(10) {
		case 0:
			write(rng.IntN(300)) // more than a tail holds, or a page
		default:
			write(rng.IntN(4))
		}
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		for i, r := range rs {
			if i == 3 && rng.IntN(20) > 0 {
				continue // slow
			}
			for range rng.IntN(3) {
				r.step()
			}
			if i > 0 && rng.IntN(8) == 0 {
				cursor := r.cursor()
				r.view.Close()
				if rng.IntN(2) == 0 {
					write(rng.IntN(10))
					time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
				}
				r.again(gates[rng.IntN(2)], cursor)
			}
		}
	}
	b.do(func() { w.x.State = queue.Succeeded; w.x.Stored++ })
	for i, r := range rs {
		r.drain()
		if got, want := text(r.output), w.all(); got != want {
			t.Errorf("reader %d has %d chunks of %d bytes, written were %d of %d", i, len(r.output), len(got), len(w.chunks), len(want))
		}
		if r.whole != 1 || r.run.State != queue.Succeeded {
			t.Errorf("reader %d: %d snapshots, %s", i, r.whole, r.run.State)
		}
		r.view.Close()
	}
	synctest.Wait()
	if n := len(gates[0].reading) + len(gates[1].reading); n != 0 {
		t.Errorf("%d readings are going on, of nobody", n)
	}
}

// A store that lost what it had acknowledged is told anew, from the beginning.
func TestOutputAfterTheStoreWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		v, other := NewViews(b), NewViews(b)
		defer v.Close()
		defer other.Close()
		topic := Topic{Job: jobA, Host: "h"}
		w := b.run(jobA, "h")
		r, away := open(t, v, topic), open(t, v, topic)
		for range 20 {
			b.do(func() { w.says(queue.Stdout, "abc") })
			r.drain()
			away.drain()
		}
		cursor := away.cursor()
		away.view.Close()
		b.do(func() {
			w.chunks, w.x.Output.Stdout, w.x.Stored = w.chunks[:10], 30, 12
			w.loses(30) // of what the agent no longer has
		})
		r.drain()
		away.again(other, cursor)
		away.drain()
		b.do(func() { w.says(queue.Stdout, "end") })
		for _, r := range []*reader{r, away} {
			r.drain()
			if text(r.output) != w.all() || r.whole != 2 {
				t.Errorf("%d snapshots, %q", r.whole, text(r.output))
			}
			r.view.Close()
		}
	})
}

// Who comes with more than this gateway has read, since others watch here already, isn't taken for
// one to whom the store went back.
func TestOutputAheadOfTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		v, other := NewViews(b), NewViews(b)
		defer v.Close()
		defer other.Close()
		topic := Topic{Job: jobA, Host: "h"}
		w := b.run(jobA, "h")
		b.do(func() { w.x.State = queue.Leased }) // so that it is read seldom
		here, there := open(t, v, topic), open(t, other, topic)
		defer here.view.Close()
		here.drain()
		there.drain()
		time.Sleep(500 * time.Millisecond)
		b.do(func() { w.says(queue.Stdout, "abc") })
		other.Recorded([]queue.Ack{{Execution: queue.NewExecutionID(jobA, "h")}})
		time.Sleep(100 * time.Millisecond)
		for there.step() {
		}
		if text(there.output) != "abc" {
			t.Fatalf("%q", text(there.output))
		}
		cursor := there.cursor()
		there.view.Close()
		there.again(v, cursor)
		at := time.Now()
		for !there.step() {
			<-there.view.News()
		}
		if there.whole != 1 || time.Since(at) > 100*time.Millisecond {
			t.Errorf("%d snapshots, after %v", there.whole, time.Since(at))
		}
		there.view.Close()
	})
}

// Output that retention has deleted isn't waited for.
func TestDeletedOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		v := NewViews(b)
		defer v.Close()
		topic := Topic{Job: jobA, Host: "h"}
		w := b.run(jobA, "h")
		b.do(func() {
			for range 100 {
				w.says(queue.Stdout, strings.Repeat("x", queue.MaxChunk))
			}
			w.x.State = queue.Succeeded
		})
		r := open(t, v, topic)
		for range 5 {
			for !r.step() {
				<-r.view.News()
			}
		}
		b.do(func() { w.x.Output.Deleted, w.chunks = true, nil })
		r.drain()
		late := open(t, v, topic)
		late.drain()
		for _, r := range []*reader{r, late} {
			if !r.run.Output.Deleted || r.whole != 1 {
				t.Errorf("%+v after %d snapshots", r.run.Output, r.whole)
			}
		}
		reads, _ := b.counts()
		time.Sleep(time.Minute)
		if n, _ := b.counts(); n-reads > 15 {
			t.Errorf("read %d times in a minute", n-reads)
		}
		b.do(func() { delete(b.runs, queue.NewExecutionID(jobA, "h")) })
		time.Sleep(6 * time.Second)
		for _, r := range []*reader{r, late} {
			if _, err := r.view.Next(t.Context()); !Lasting(err) {
				t.Errorf("of a deleted execution: %v", err)
			}
			r.view.Close()
		}
	})
}

// Readers who stop in the middle of a long output hold nobody up, be they as many as may read at the same
// time.
func TestReadersWhoStopHoldNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		v := NewViews(b)
		defer v.Close()
		w := b.run(jobA, "h")
		b.do(func() {
			for range 100 {
				w.says(queue.Stdout, strings.Repeat("x", queue.MaxChunk))
			}
		})
		for range maxReading {
			r := open(t, v, Topic{Job: jobA, Host: "h"})
			defer r.view.Close()
			for r.bytes == 0 {
				if !r.step() {
					<-r.view.News()
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		last, err := v.Open(Topic{Job: jobA, Host: "h"}, Position{}, false)
		if err != nil {
			t.Fatal(err)
		}
		defer last.Close()
		got := 0
		for got < 100*queue.MaxChunk {
			u, err := last.Next(ctx)
			if err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
			if u == nil {
				t.Fatalf("only %d bytes came", got)
			}
			for _, c := range u.Output {
				got += len(c.Data)
			}
		}
	})
}

// Many who watch one execution cost the store no more than one.
func TestManyWatchersReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		v := NewViews(b)
		defer v.Close()
		topic := Topic{Job: jobA, Host: "h"}
		w := b.run(jobA, "h")
		var rs []*reader
		for range 200 {
			r := open(t, v, topic)
			rs = append(rs, r)
		}
		for _, r := range rs {
			for !r.step() {
				<-r.view.News()
			}
			for r.step() {
			}
		}
		reads, pages := b.counts()
		for i := range 50 {
			b.do(func() { w.says(queue.Stdout, fmt.Sprint(i)) })
			v.Recorded([]queue.Ack{{Execution: queue.NewExecutionID(jobA, "h")}})
			time.Sleep(200 * time.Millisecond)
			for _, r := range rs {
				for r.step() {
				}
			}
		}
		if r, p := b.counts(); r-reads > 250 || p-pages > 60 {
			t.Errorf("%d readings and %d pages for 200 watchers", r-reads, p-pages)
		}
		for _, r := range rs {
			if text(r.output) != w.all() {
				t.Errorf("%q", text(r.output))
			}
			r.view.Close()
		}
		if n := v.Reading()["execution"]; n != 0 {
			t.Errorf("%d are read", n)
		}
	})
}
