package operator

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
)

// TestWatch gives snapshots until the job is done, and endures an outage.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var (
			mu    sync.Mutex
			waits []string
		)
		c := inProcess(t, func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			waits = append(waits, r.URL.Query().Get("wait"))
			mu.Unlock()
			since := time.Since(began)
			switch {
			case since > 10*time.Second && since < 2*time.Minute:
				return nil, io.ErrUnexpectedEOF
			case since > 3*time.Minute:
				now := time.Now()
				return response(200, nil, api.Job{ID: "j", Done: 2, FinishedAt: &now}), nil
			}
			d, _ := time.ParseDuration(r.URL.Query().Get("wait"))
			time.Sleep(d)
			return response(200, nil, api.Job{ID: "j", Done: 1}), nil
		})
		var troubles, recoveries, snapshots int
		var last api.Job
		for j, err := range c.Watch(t.Context(), "j", WatchOptions{Every: 2 * time.Second, Trouble: func(err error) {
			if err == nil {
				recoveries++
			} else {
				troubles++
			}
		}}) {
			if err != nil {
				t.Fatal(err)
			}
			snapshots++
			last = j
		}
		if last.Done != 2 || recoveries != 1 || troubles < 5 || troubles > 60 || snapshots < 20 || snapshots > 40 {
			t.Errorf("%d snapshots, %d troubles, %d recoveries, last %+v", snapshots, troubles, recoveries, last)
		}
		if waits[0] != "" || waits[1] != "2s" {
			t.Errorf("waits %q", waits[:2])
		}
	})
}

// TestWatchEnds gives up on what stays: a refusal, a long outage, the context.
func TestWatchEnds(t *testing.T) {
	watch := func(ctx context.Context, c *Client) (err error) {
		for _, err = range c.Watch(ctx, "j", WatchOptions{}) {
		}
		return err
	}
	synctest.Test(t, func(t *testing.T) {
		c := inProcess(t, func(*http.Request) (*http.Response, error) {
			return response(404, nil, api.Problem{Code: "not_found", Detail: "x"}), nil
		})
		if err := watch(t.Context(), c); !IsProblem(err, "not_found") {
			t.Errorf("refused: %v", err)
		}
		began := time.Now()
		c = inProcess(t, func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })
		if err := watch(t.Context(), c); !errors.Is(err, io.ErrUnexpectedEOF) || time.Since(began) < 9*time.Minute || time.Since(began) > 10*time.Minute {
			t.Errorf("outage: %v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		time.AfterFunc(time.Minute, func() { cancel(why) })
		if err := watch(ctx, c); !errors.Is(err, why) {
			t.Errorf("context: %v", err)
		}
		c = inProcess(t, func(*http.Request) (*http.Response, error) { return response(200, nil, api.Job{ID: "j"}), nil })
		calls := 0
		for range c.Watch(t.Context(), "j", WatchOptions{}) {
			if calls++; calls == 100 {
				break
			}
		}
		if d := time.Since(began); d < 90*time.Second {
			t.Errorf("a server that answers early was asked 100 times in %v", d)
		}
	})
}
