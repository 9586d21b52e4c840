package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/gateway"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

// asProgram makes the test's binary be rexagent.
const asProgram = "TEST_AS_REXAGENT"

// patience bounds every wait; what is waited for comes much sooner.
const patience = time.Minute

func TestMain(m *testing.M) {
	runner.Hook()
	if os.Getenv(asProgram) == "1" {
		main()
	}
	os.Exit(m.Run())
}

// site is a real gateway, with an operator.
type site struct {
	t      *testing.T
	url    string
	dir    string
	signer *auth.Signer
	*operator.Client
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: clienttest.Dir(t, 0o711)}
	store, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: filepath.Join(s.dir, "rexgate.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if s.signer, _, err = auth.LoadOrCreateSigner(filepath.Join(s.dir, auth.KeyFile)); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + listener.Addr().String()
	server, err := gateway.NewServer(gateway.ServerConfig{
		Gateway:  gateway.Config{Store: store, Name: "g", PublicURL: s.url, Signer: s.signer, Log: slog.New(slog.DiscardHandler)},
		Listener: listener, DrainTime: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := s.signer.SignOperator(auth.Operator{Subject: "tester", Scopes: auth.Scopes()}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if s.Client, err = operator.New(operator.Options{Server: s.url, Token: func() (string, error) { return token, nil }}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
		s.Client.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// proc is a running rexagent.
type proc struct {
	*exec.Cmd
	t        *testing.T
	out, err bytes.Buffer
	done     chan struct{}
}

func rexagent(t *testing.T, stdin string, args ...string) *proc {
	t.Helper()
	p := &proc{t: t, Cmd: exec.Command(os.Args[0], args...), done: make(chan struct{})}
	p.Env = []string{asProgram + "=1", "PATH=" + os.Getenv("PATH"), "HOME=/root", "GORACE=atexit_sleep_ms=0"}
	p.Stdin, p.Stdout, p.Stderr = strings.NewReader(stdin), &p.out, &p.err
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.Wait() //nolint:errcheck // the state tells
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop(syscall.SIGTERM)
		if t.Failed() || strings.Contains(p.err.String(), "DATA RACE") {
			t.Errorf("rexagent %q: status %d\n%s%s", args, p.ProcessState.ExitCode(), p.out.String(), p.err.String())
		}
	})
	return p
}

func (p *proc) stop(sig syscall.Signal) {
	p.t.Helper()
	p.Process.Signal(sig) //nolint:errcheck // it may have ended
	p.ended()
}

func (p *proc) ended() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.Process.Kill() //nolint:errcheck
		<-p.done
		p.t.Errorf("rexagent didn't end: %s", p.err.String())
	}
	return p.ProcessState.ExitCode()
}

// enrol makes a host and gives its state directory.
func (s *site) enrol(host string) string {
	s.t.Helper()
	token, _, err := s.signer.SignEnroll(auth.Grant{URL: s.url}, time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	state := filepath.Join(s.dir, "host-"+host)
	p := rexagent(s.t, token+"\n", "enroll", "--token-file", "-", "--state-dir", state, "--host", host)
	if code := p.ended(); code != 0 || !strings.Contains(p.out.String(), "Enrolled as "+host) {
		s.t.Fatalf("status %d: %s%s", code, p.out.String(), p.err.String())
	}
	return state
}

func (s *site) run(state string, args ...string) *proc {
	s.t.Helper()
	return rexagent(s.t, "", append([]string{"run", "--state-dir", state, "--allow-root"}, args...)...)
}

// submit sends a job to a host.
func (s *site) submit(host, script string, change ...func(*api.JobRequest)) string {
	s.t.Helper()
	r := api.JobRequest{Script: script, Hosts: []string{host}}
	for _, c := range change {
		c(&r)
	}
	j, err := s.Submit(s.t.Context(), r)
	if err != nil {
		s.t.Fatal(err)
	}
	return j.ID
}

// until waits for an execution to be as it should.
func (s *site) until(job, host string, ok func(api.Execution) bool) api.Execution {
	s.t.Helper()
	var x api.Execution
	clienttest.Until(s.t, "job "+job+" on "+host+" is as it should be", func() bool {
		var err error
		if x, err = s.Execution(s.t.Context(), job, host); err != nil {
			s.t.Fatal(err)
		}
		return ok(x)
	})
	return x
}

// ends waits for a terminal state, and gives the output too.
func (s *site) ends(job, host string) (api.Execution, string) {
	s.t.Helper()
	x := s.until(job, host, func(x api.Execution) bool { return x.Result != nil })
	return x, s.output(job, host)
}

func (s *site) output(job, host string) string {
	s.t.Helper()
	var b bytes.Buffer
	if _, err := s.CopyOutput(s.t.Context(), &b, operator.OutputRequest{Job: job, Host: host}); err != nil {
		s.t.Fatal(err)
	}
	return b.String()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
