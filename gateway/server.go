package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// DefaultDrainTime bounds how long a server takes to go.
const DefaultDrainTime = 30 * time.Second

// ServerConfig sets a server up.
type ServerConfig struct {
	Gateway Config
	// Listener is where the routes are served. The server closes it.
	Listener net.Listener
	// Admin is where metrics and pprof are served; nil = nowhere. The server closes it.
	Admin net.Listener
	// TLS makes the listener speak TLS; nil = plain HTTP.
	TLS *tls.Config
	// DrainTime bounds how long Run takes to return after its context has ended;
	// default 30 s, and a few seconds more for what is cut then.
	DrainTime time.Duration
}

// Server runs a whole gateway in this process: listeners, sessions, duties. The store is
// the caller's, who closes it after Run has returned.
type Server struct {
	config  ServerConfig
	gateway *Gateway
	log     *slog.Logger
}

// NewServer makes a server. It starts nothing.
func NewServer(c ServerConfig) (*Server, error) {
	if c.Listener == nil {
		return nil, errors.New("gateway: a listener is needed")
	}
	if c.DrainTime <= 0 {
		c.DrainTime = DefaultDrainTime
	}
	g, err := New(c.Gateway)
	if err != nil {
		return nil, err
	}
	return &Server{config: c, gateway: g, log: g.log}, nil
}

// Gateway is what the server runs.
func (s *Server) Gateway() *Gateway { return s.gateway }

// Run serves until ctx ends; then it drains, and returns nil when everything has stopped. It
// returns an error if a part failed before. It is called once.
func (s *Server) Run(ctx context.Context) error {
	// The parts outlive ctx: while the gateway drains, sessions still report.
	parts, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	main := s.newHTTP(parts, s.gateway)
	servers := []*http.Server{main}
	failed := make(chan error, 3)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.gateway.Run(parts); err != nil {
			failed <- err
		}
	})
	wg.Go(func() { failed <- s.serve(main) })
	if s.config.Admin != nil {
		admin := s.newHTTP(parts, s.gateway.Admin())
		servers = append(servers, admin)
		wg.Go(func() { failed <- fmt.Errorf("admin listener: %w", admin.Serve(s.config.Admin)) })
	}
	var err error
	select {
	case <-ctx.Done():
		s.drain(servers)
	case err = <-failed:
	}
	for _, srv := range servers {
		// What still runs was given its time.
		_ = srv.Close()
	}
	stop()
	wg.Wait()
	return err
}

// drain lets sessions and requests end, within the time there is.
func (s *Server) drain(servers []*http.Server) {
	s.log.Info("draining", "sessions", s.gateway.sessions())
	ctx, cancel := context.WithTimeout(context.Background(), s.config.DrainTime)
	defer cancel()
	s.gateway.Drain(ctx)
	for _, srv := range servers {
		if err := srv.Shutdown(ctx); err != nil {
			s.log.Warn("requests were cut at the end of the drain time", "err", err)
		}
	}
}

func (s *Server) serve(srv *http.Server) error {
	var err error
	if s.config.TLS != nil {
		srv.TLSConfig = s.config.TLS.Clone()
		err = srv.ServeTLS(s.config.Listener, "", "")
	} else {
		err = srv.Serve(s.config.Listener)
	}
	return fmt.Errorf("listener: %w", err)
}

func (s *Server) newHTTP(ctx context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler: h,
		// No WriteTimeout: polls and followed output are held. What writes for long sets
		// its own deadlines.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}
