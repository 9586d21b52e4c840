package live

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// However often it is touched and however much changes, a reader spends no more of its time
// reading than its pace allows.
func TestReaderRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const took = 30 * time.Millisecond
		var reading time.Duration
		var n int64
		f := New(Options[string, int64]{Same: sameInt, Pace: func(int64) Pace { return listPace },
			Read: func(context.Context, string, int64) (int64, error) {
				time.Sleep(took) // as long as the store takes
				reading += took
				n++
				return n, nil
			}})
		w := watch(t, f)
		began := time.Now()
		for time.Since(began) < time.Minute {
			f.Touch("k")
			time.Sleep(time.Millisecond)
		}
		w.Close()
		f.Close()
		if share := float64(reading) / float64(time.Minute); share > 0.05 || share < 0.04 {
			t.Errorf("read %.1f %% of the time", 100*share)
		}
	})
}

func TestPaceBoundsAllReadersTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		f := New(Options[int, int64]{Same: sameInt, Pace: func(int64) Pace { return (&runValue{}).pace() },
			Read: func(context.Context, int, int64) (int64, error) { return reads.Add(1), nil }})
		defer f.Close()
		var ws []*Watcher[int, int64]
		for i := range 1500 {
			w, err := f.Watch(i)
			if err != nil {
				t.Fatal(err)
			}
			ws = append(ws, w)
		}
		time.Sleep(5 * time.Second)
		reads.Store(0)
		time.Sleep(30 * time.Second)
		if n := reads.Load(); n > 30*untouchedReads*11/10 {
			t.Errorf("%d readings a second untouched", n/30)
		}
		reads.Store(0)
		for range 100 {
			for i := range ws {
				f.Touch(i)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := reads.Load(); n > 10*touchedReads*11/10 || n < 10*untouchedReads {
			t.Errorf("%d readings a second touched", n/10)
		}
		for _, w := range ws {
			w.Close()
		}
	})
}

func TestRefreshReadsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, value, reads := counter()
		defer f.Close()
		w := watch(t, f)
		defer w.Close()
		next(t, w, 0)
		time.Sleep(10 * time.Second)
		before := reads.Load()
		w.Refresh()
		if w.Fresh() {
			t.Error("fresh before it was read")
		}
		next(t, w, 0) // the same again
		if !w.Fresh() || reads.Load() != before+1 {
			t.Errorf("fresh %v after %d readings", w.Fresh(), reads.Load()-before)
		}
		select {
		case <-w.News():
			t.Error("news of nothing")
		default:
		}
		value.Store(3)
		w.Refresh()
		<-w.News()
		if v, err, ok := w.Peek(); v != 3 || err != nil || !ok || !w.Fresh() {
			t.Errorf("%d %v %v", v, err, ok)
		}
	})
}

// A value outlives its last watcher, and what is read next builds on it.
func TestValuesAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var built []int64
		f := New(Options[string, int64]{Same: sameInt, Size: func(v int64) int { return int(v) },
			Read: func(_ context.Context, _ string, last int64) (int64, error) {
				built = append(built, last)
				return last + 1, nil
			}})
		defer f.Close()
		visit := func(key string) int64 {
			w, err := f.Watch(key)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			v, err := w.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		if a, b := visit("k"), visit("k"); a != 1 || b != 2 {
			t.Errorf("%d, then %d", a, b)
		}
		time.Sleep(KeepFor + time.Second)
		if v := visit("k"); v != 1 {
			t.Errorf("kept for too long: %d", v)
		}
		for i := range 3 * keepValues {
			visit(string(rune('a' + i)))
		}
		if n := len(f.kept.entries); n != keepValues {
			t.Errorf("%d values are kept", n)
		}
		f.kept.put("large", 0, KeepBytes-10, time.Now())
		f.kept.put("small", 0, 11, time.Now())
		if n := len(f.kept.entries); n != 1 || f.kept.bytes != 11 {
			t.Errorf("%d values of %d bytes are kept", n, f.kept.bytes)
		}
		f.kept.put("huge", 0, KeepBytes+1, time.Now())
		if len(f.kept.entries) != 0 || f.kept.bytes != 0 {
			t.Errorf("%d values of %d bytes are kept", len(f.kept.entries), f.kept.bytes)
		}
	})
}
