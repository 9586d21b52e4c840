package live

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
)

func counter() (*Feed[string, int64], *atomic.Int64, *atomic.Int64) {
	var value, reads atomic.Int64
	f := New(Options[string, int64]{Same: sameInt, Read: func(context.Context, string, int64) (int64, error) {
		reads.Add(1)
		return value.Load(), nil
	}})
	return f, &value, &reads
}

func sameInt(a, b int64) bool { return a == b }

func watch(t *testing.T, f *Feed[string, int64]) *Watcher[string, int64] {
	t.Helper()
	w, err := f.Watch("k")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func next(t *testing.T, w *Watcher[string, int64], want int64) {
	t.Helper()
	got, err := w.Next(t.Context())
	if err != nil || got != want {
		t.Fatalf("next is %d, %v; want %d", got, err, want)
	}
}

func TestTouchWakesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, value, _ := counter()
		defer f.Close()
		w := watch(t, f)
		defer w.Close()
		next(t, w, 0)
		time.Sleep(10 * time.Second) // the reader is at its slowest
		at := time.Now()
		value.Store(1)
		f.Touch("k")
		next(t, w, 1)
		if d := time.Since(at); d > DefaultPace.Soonest {
			t.Errorf("woken after %v", d)
		}
		f.Touch("other")
	})
}

func TestUntouchedIsSeenWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, value, reads := counter()
		defer f.Close()
		w := watch(t, f)
		defer w.Close()
		next(t, w, 0)
		time.Sleep(time.Minute)
		if n := reads.Load(); n > 70 {
			t.Errorf("%d readings in a quiet minute", n)
		}
		value.Store(1)
		at := time.Now()
		next(t, w, 1)
		if d := time.Since(at); d > DefaultPace.Longest {
			t.Errorf("seen after %v", d)
		}
	})
}

func TestOneReaderForAllWatchers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, value, reads := counter()
		defer f.Close()
		var ws []*Watcher[string, int64]
		for range 1000 {
			w := watch(t, f)
			next(t, w, 0)
			ws = append(ws, w)
		}
		before := reads.Load()
		value.Store(7)
		for range 1000 {
			f.Touch("k")
		}
		for _, w := range ws {
			next(t, w, 7)
			w.Close()
			w.Close()
		}
		if n := reads.Load() - before; n > 3 {
			t.Errorf("%d readings for 1000 watchers", n)
		}
		synctest.Wait()
		if f.Watching() != 0 || f.watchers != 0 {
			t.Errorf("%d keys and %d watchers are left", f.Watching(), f.watchers)
		}
		n := reads.Load()
		time.Sleep(time.Minute)
		if reads.Load() != n {
			t.Error("read on after the last watcher had gone")
		}
	})
}

func TestErrorsPassAndHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		broken.Store(true)
		f := New(Options[string, int64]{Same: sameInt, Read: func(context.Context, string, int64) (int64, error) {
			if broken.Load() {
				return 0, errors.New("away")
			}
			return 5, nil
		}})
		defer f.Close()
		w := watch(t, f)
		defer w.Close()
		for range 3 {
			if _, err := w.Next(t.Context()); err == nil {
				t.Fatal("no error while the store is away")
			}
		}
		broken.Store(false)
		for {
			v, err := w.Next(t.Context())
			if err == nil {
				if v != 5 {
					t.Errorf("got %d", v)
				}
				return
			}
		}
	})
}

func TestCloseEndsWatchers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := counter()
		w := watch(t, f)
		next(t, w, 0)
		ended := make(chan error)
		go func() {
			_, err := w.Next(context.Background())
			ended <- err
		}()
		synctest.Wait()
		f.Close()
		if err := <-ended; queue.CodeOf(err) != queue.Unavailable {
			t.Errorf("Next gives %v", err)
		}
		w.Close()
		if _, err := f.Watch("k"); queue.CodeOf(err) != queue.Unavailable {
			t.Errorf("Watch gives %v", err)
		}
	})
}
