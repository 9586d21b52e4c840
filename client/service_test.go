package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/session/wire"
)

func TestServiceOverBothTransports(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{ModeSocket, ModePoll} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			s := newService(t, 1)
			s.agent.chunks, s.agent.size = 50, 7000
			s.submit() // waits for the host
			s.start(mode)
			s.finished()
			for range 4 {
				s.submit()
			}
			s.finished()
		})
	}
}

func TestServiceSwitchesInTheMiddleOfJobs(t *testing.T) {
	t.Parallel()
	s := newService(t, 2)
	s.agent.chunks, s.agent.size = 200, 4000
	s.broken.Store(true)
	s.start(ModeAuto)
	s.up(Poll)
	for range 3 {
		s.submit()
	}
	s.broken.Store(false)
	st := s.up(Socket) // by a standby that took over
	for range 3 {
		s.submit()
	}
	// And back: what carries the socket falls away in the middle.
	s.broken.Store(true)
	i := slices.IndexFunc(s.front, func(f *httptest.Server) bool { return f.URL == st.Gateway })
	s.front[i].CloseClientConnections()
	s.gws[i].Drain(expired(t))
	s.until("the poll again", func(st Status) bool { return st.Up && st.Transport == Poll })
	for range 3 {
		s.submit()
	}
	s.finished()
}

func TestServiceMovesToAnotherGateway(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(s *service){
		"drain": func(s *service) {
			ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
			defer cancel()
			s.gws[0].Drain(ctx)
		},
		"killed": func(s *service) {
			s.front[0].Listener.Close()
			s.gws[0].Drain(expired(s.t)) // closes what was hijacked
		},
	} {
		for _, mode := range []Mode{ModeSocket, ModePoll} {
			t.Run(name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				s := newService(t, 2)
				s.start(mode)
				s.until("the first gateway", func(st Status) bool { return st.Up && st.Gateway == s.front[0].URL })
				s.submit()
				s.finished()
				leave(s)
				s.front[0].CloseClientConnections()
				s.until("the second gateway", func(st Status) bool { return st.Up && st.Gateway == s.front[1].URL })
				s.submit()
				s.finished()
			})
		}
	}
}

func TestServiceRunOnce(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{ModeAuto, ModeSocket} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			s := newService(t, 1)
			for range 4 {
				s.submit()
			}
			s.link = s.newLink(mode)
			start := time.Now()
			if err := s.link.RunOnce(t.Context(), s.agent, 0); err != nil {
				t.Fatal(err)
			}
			t.Logf("took %v", time.Since(start))
			s.finished()
		})
	}
}

func TestServiceRevokesTheHost(t *testing.T) {
	t.Parallel()
	s := newService(t, 1)
	s.start(ModeSocket)
	s.up(Socket)
	op, _, err := s.signer.SignOperator(auth.Operator{Subject: "ann", Scopes: auth.Scopes()}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.front[0].URL+"/v1/hosts/web-1/revoke", nil)
	req.Header.Set("Authorization", "Bearer "+op)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp.Status)
	}
	var te *TerminalError
	select {
	case err := <-s.ended:
		// Of the hint and the kick, whichever is first: both say to stay away.
		if !errors.As(err, &te) || te.Code != wire.CloseRevoked {
			t.Errorf("Run returned %v", err)
		}
		s.ended <- nil
	case <-time.After(10 * time.Second):
		t.Error("Run goes on")
	}
	// Coming back all the same ends in the same way.
	for _, mode := range []Mode{ModeSocket, ModePoll} {
		if err := s.newLink(mode).Run(t.Context(), s.agent); !errors.As(err, &te) || te.Code != wire.CloseRevoked {
			t.Errorf("%s: Run returned %v", mode, err)
		}
		if err := s.newLink(mode).RunOnce(t.Context(), s.agent, 0); !errors.As(err, &te) || te.Code != wire.CloseRevoked {
			t.Errorf("%s: RunOnce returned %v", mode, err)
		}
	}
}

func TestServiceIsDiagnosed(t *testing.T) {
	t.Parallel()
	s := newService(t, 1)
	checks, err := Diagnose(t.Context(), Config{Gateways: s.id.Host().Gateways, Identity: s.id})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range checks {
		names = append(names, c.Name)
		if !c.OK {
			t.Errorf("%+v", c)
		}
	}
	if got := strings.Join(names, " "); got != "tcp clock token poll socket ping" {
		t.Errorf("checked %s", got)
	}
}
