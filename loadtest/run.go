package loadtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/loadtest/report"
	"github.com/rexgate/rexgate/loadtest/stand"
)

// Outcome is what a run gave.
type Outcome struct {
	Result *report.Result
	// Wrong is what was lost or isn't what it should be, one line each. Empty = all is as it should be.
	Wrong []string
}

// Run does a scenario, and returns when everything that it started has ended. An error means that the run couldn't be
// done; what the service did wrong is part of the outcome.
func Run(ctx context.Context, c Config) (Outcome, error) {
	if err := c.complete(); err != nil {
		return Outcome{}, err
	}
	r := &run{cfg: c}
	r.result = &report.Result{Format: report.Format, Scenario: c.Scenario.Name, Command: c.Command, Started: time.Now()}
	err := r.all(ctx)
	return Outcome{r.result, r.wrong}, err
}

// run is a run under way.
type run struct {
	cfg      Config
	result   *report.Result
	wrong    []string
	stand    *stand.Stand // nil = the service was there before
	op       *operator.Client
	identity Identity
	crew     *crew
	sampler  *stand.Sampler
	progress *progress
	memory   []map[string]float64 // of the fleet, at the end of each phase
}

func (r *run) all(ctx context.Context) (err error) {
	if r.result.Machine, err = report.ThisMachine(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(r.cfg.Dir, "rexload-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := r.service(ctx); err != nil {
		return err
	}
	defer func() {
		if r.stand != nil {
			err = errors.Join(err, r.stand.Close())
		}
		r.op.Close()
	}()
	workers, err := r.cfg.workers()
	if err != nil {
		return err
	}
	if r.crew, err = startCrew(r.cfg.Worker, workers); err != nil {
		return err
	}
	defer r.crew.stop()
	if err := r.startSampling(ctx); err != nil {
		return err
	}
	r.progress = startProgress(r)
	err = r.scenario(ctx, dir)
	r.progress.stop()
	r.memory = append(r.memory, r.crew.counts().Memory)
	r.sampler.Stop(context.WithoutCancel(ctx))
	r.fill(dir)
	return err
}

// service finds or starts what is to be measured.
func (r *run) service(ctx context.Context) (err error) {
	o := operator.Options{Server: r.cfg.Server, Token: r.cfg.Token, AllowPlainHTTP: r.cfg.PlainHTTP, UserAgent: "rexload"}
	ca := r.cfg.CA
	if r.cfg.Server == "" {
		if !r.cfg.Admission {
			polls := 0.0
			if r.cfg.Mix.connections() > 1 {
				polls = max(2000, float64(r.cfg.Hosts)/10)
			}
			r.cfg.Stand.Args = append(stand.OpenAdmission(r.cfg.Hosts, polls), r.cfg.Stand.Args...)
		}
		if r.stand, err = stand.Start(ctx, r.cfg.Stand); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, r.stand.Close())
			}
		}()
		if r.result.Stand, err = r.stand.Describe(ctx); err != nil {
			return err
		}
		ca = r.stand.CA
		o.Server, o.Token = r.stand.URLs[0], operator.TokenFile(r.stand.Token)
	} else {
		r.result.Stand = report.Stand{Gateways: 1 + len(r.cfg.Gateways), Remote: true}
	}
	if ca != "" {
		if o.CA, err = os.ReadFile(ca); err != nil {
			return err
		}
	}
	if r.op, err = operator.New(o); err != nil {
		return err
	}
	r.identity = NewIdentity()
	if r.cfg.State != "" {
		r.identity, err = LoadIdentity(r.cfg.State, r.cfg.Server)
	}
	return err
}

// gateways are the URLs for hosts.
func (r *run) gateways() []string {
	if r.stand != nil {
		return r.stand.URLs
	}
	return append([]string{r.cfg.Server}, r.cfg.Gateways...)
}

func (r *run) startSampling(ctx context.Context) (err error) {
	var targets []stand.Target
	if r.stand != nil {
		targets = r.stand.Targets()
	}
	for _, url := range r.cfg.Metrics {
		targets = append(targets, stand.Target{Role: report.RoleGateway, Metrics: url})
	}
	for _, pid := range r.crew.pids() {
		targets = append(targets, stand.Target{Role: report.RoleFleet, PID: pid, Children: r.cfg.Real})
	}
	r.sampler, err = stand.StartSampler(ctx, 0, report.PhaseStart, targets...)
	return err
}

// phase begins another part of the run.
func (r *run) phase(ctx context.Context, name string) {
	r.progress.phase(name)
	r.memory = append(r.memory, r.crew.counts().Memory)
	r.sampler.Phase(ctx, name)
}

// scenario brings the fleet up, and does what is to be done with it.
func (r *run) scenario(ctx context.Context, dir string) error {
	ctx, cancel := r.whileAllLive(ctx)
	defer cancel()
	if err := r.enroll(ctx, dir); err != nil {
		return err
	}
	defer r.forget(ctx)
	r.phase(ctx, report.PhaseConnect)
	if err := r.connect(ctx); err != nil {
		return err
	}
	r.result.Origin = time.Now()
	if err := r.cfg.Scenario.do(ctx, r); err != nil {
		return err
	}
	return r.collect(ctx)
}

// whileAllLive ends the context when a process that the run needs has ended.
func (r *run) whileAllLive(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	var failed <-chan struct{}
	if r.stand != nil {
		failed = r.stand.Failed()
	}
	var watching sync.WaitGroup
	for _, m := range r.crew.workers {
		watching.Go(func() {
			select {
			case <-m.ended:
				cancel(r.crew.failed())
			case <-failed:
				cancel(errors.New("a process of the service ended by itself"))
			case <-ctx.Done():
			}
		})
	}
	return ctx, func() {
		cancel(nil)
		watching.Wait()
	}
}

// tokens is how many enrolment tokens a fleet uses: a gateway limits the use of each.
const tokens = 16

// enroll makes the hosts, and registers those that aren't.
func (r *run) enroll(ctx context.Context, dir string) error {
	r.phase(ctx, report.PhaseEnroll)
	var ca string
	if file := r.caFile(); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		ca = string(b)
	}
	at := parts(r.cfg.Hosts, len(r.crew.workers))
	_, err := r.crew.all(ctx, func(i int) order {
		return order{Do: doFleet, Fleet: &fleetOrder{
			Identity: r.identity, From: at[i], To: at[i+1], Hosts: r.cfg.Hosts, Mix: r.cfg.Mix, Gateways: r.gateways(), CA: ca,
			Dir: dir, Volatile: r.cfg.Volatile, Real: r.cfg.Real, PollWait: r.cfg.PollWait, Version: r.cfg.Version,
		}}
	})
	if err != nil || r.identity.Enrolled >= r.cfg.Hosts {
		return err
	}
	list := make([]string, tokens)
	for i := range list {
		t, err := r.op.EnrollToken(ctx, api.EnrollTokenRequest{
			Hosts: r.identity.Name + "-*", Labels: map[string]string{Label: r.identity.Name}, Uses: -1, URL: r.gateways()[0],
		})
		if err != nil {
			return fmt.Errorf("an enrolment token: %w", err)
		}
		list[i] = t.Token
	}
	if _, err := r.crew.all(ctx, func(int) order { return order{Do: doEnroll, Tokens: list} }); err != nil {
		return err
	}
	r.identity.Enrolled = r.cfg.Hosts
	if r.cfg.State != "" {
		return r.identity.Save(r.cfg.State)
	}
	return nil
}

func (r *run) caFile() string {
	if r.stand != nil {
		return r.stand.CA
	}
	return r.cfg.CA
}

// forget deletes the hosts from a service that stays, unless they are kept for another run.
func (r *run) forget(ctx context.Context) {
	if r.stand != nil || r.cfg.State != "" {
		return
	}
	r.progress.say("deleting the fleet's hosts")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Patience)
	defer cancel()
	if err := r.deleteHosts(ctx); err != nil {
		r.wrong = append(r.wrong, fmt.Sprintf("the fleet's hosts (label %s=%s) couldn't all be deleted: %v", Label, r.identity.Name, err))
	}
}

// connect connects all hosts, and returns when the API says that all are online.
func (r *run) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.Patience+time.Duration(float64(r.cfg.Hosts)/r.cfg.ConnectRate*float64(time.Second)),
		errors.New("not all hosts came online in time"))
	defer cancel()
	rate := r.cfg.ConnectRate / float64(len(r.crew.workers))
	if _, err := r.crew.all(ctx, func(int) order { return order{Do: doConnect, Rate: rate} }); err != nil {
		return err
	}
	for r.crew.counts().online() < int64(r.cfg.Hosts) {
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return r.notConnected(err)
		}
	}
	for {
		n, err := r.online(ctx)
		if err == nil && n >= r.cfg.Hosts {
			return nil
		}
		if err == nil {
			err = sleep(ctx, time.Second)
		}
		if err != nil {
			return r.notConnected(err)
		}
	}
}

func (r *run) notConnected(err error) error {
	c := r.crew.counts()
	return fmt.Errorf("%d of %d hosts are connected: %w%s", c.online(), r.cfg.Hosts, err, r.mostFrequentError())
}

// journal says where the hosts' journals are.
func (r *run) journal(dir string) string {
	if r.cfg.Volatile && !r.cfg.Real {
		return "memory"
	}
	return report.FileSystem(filepath.Clean(dir)) + " (" + r.cfg.Dir + ")"
}
