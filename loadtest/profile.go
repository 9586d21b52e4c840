package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	"github.com/rexgate/rexgate/loadtest/report"
)

// profileMargin is how much longer than the job's script a CPU profile takes.
const profileMargin = 5 * time.Second

// profile takes CPU profiles of the gateways and the workers in a phase, from now on for so long. wait blocks
// until they are written.
func (r *run) profile(ctx context.Context, phase string, d time.Duration) (wait func() error) {
	if r.cfg.Profile == "" {
		return func() error { return nil }
	}
	seconds := max(1, int(d.Seconds()))
	var wg sync.WaitGroup
	errs := make([]error, 2)
	wg.Go(func() {
		_, errs[0] = r.crew.all(ctx, func(i int) order {
			return order{Do: doProfile, File: filepath.Join(r.cfg.Profile, fmt.Sprintf("%s-%d.%s.cpu", report.RoleFleet, i+1, phase)), Seconds: seconds}
		})
	})
	wg.Go(func() { errs[1] = r.fetchProfiles(ctx, fmt.Sprintf("profile?seconds=%d", seconds), phase+".cpu") })
	return func() error {
		wg.Wait()
		return errors.Join(errs...)
	}
}

// heaps takes profiles of what the gateways and the workers have in memory at the moment.
func (r *run) heaps(ctx context.Context) error {
	if r.cfg.Profile == "" {
		return nil
	}
	_, err := r.crew.all(ctx, func(i int) order {
		return order{Do: doProfile, File: filepath.Join(r.cfg.Profile, fmt.Sprintf("%s-%d.heap", report.RoleFleet, i+1))}
	})
	return errors.Join(err, r.fetchProfiles(ctx, "heap?gc=1", "heap"), r.fetchProfiles(ctx, "goroutine", "goroutine"))
}

// fetchProfiles gets a profile from each gateway that was started for the run.
func (r *run) fetchProfiles(ctx context.Context, what, name string) error {
	if r.stand == nil {
		return nil
	}
	errs := make([]error, len(r.stand.AdminURLs))
	var wg sync.WaitGroup
	for i, url := range r.stand.AdminURLs {
		wg.Go(func() {
			errs[i] = fetch(ctx, strings.TrimRight(url, "/")+"/debug/pprof/"+what, filepath.Join(r.cfg.Profile, fmt.Sprintf("%s-%d.%s", report.RoleGateway, i+1, name)))
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func fetch(ctx context.Context, url, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it is this machine
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}

// profileSelf writes a profile of this process: of the CPU for so many seconds, or of the heap if that is 0.
func profileSelf(ctx context.Context, file string, seconds int) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if seconds == 0 {
		runtime.GC()
		heap := errors.Join(pprof.WriteHeapProfile(f), f.Close())
		if f, err = os.Create(strings.TrimSuffix(file, ".heap") + ".goroutine"); err != nil {
			return errors.Join(heap, err)
		}
		return errors.Join(heap, pprof.Lookup("goroutine").WriteTo(f, 0), f.Close())
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = sleep(ctx, time.Duration(seconds)*time.Second)
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}
