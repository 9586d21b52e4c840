package client

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Transport is what carries a session.
type Transport string

// The transports.
const (
	Socket Transport = "socket"
	Poll   Transport = "poll"
)

// Mode says which transports may be used.
type Mode string

// The modes.
const (
	ModeAuto   Mode = "auto"   // the socket, or the poll while the socket doesn't work
	ModeSocket Mode = "socket" // never the poll
	ModePoll   Mode = "poll"   // never the socket
)

// ParseMode reads a mode; "" is auto.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case "":
		return ModeAuto, nil
	case ModeAuto, ModeSocket, ModePoll:
		return m, nil
	}
	return "", fmt.Errorf("transport %q: must be auto, socket or poll", s)
}

// Config is what a Link needs. Gateways (or Ways) and Identity are required.
type Config struct {
	// Gateways are base URLs, http or https, tried in this order from the one
	// that worked last.
	Gateways []string
	Identity Identity
	Mode     Mode
	Network  Network
	// Ways, if set, takes the place of Gateways and Network.
	Ways *Ways
	// StateFile keeps what worked last, so that a restart begins with it; "" keeps
	// nothing.
	StateFile string
	// Log gets what changes: connected, lost, refused (once for a reason). nil = nothing is logged.
	Log *slog.Logger
	// OnStatus is called with each change, from one goroutine at a time; it must
	// not block. It may be nil.
	OnStatus func(Status)
	// Observer is told more, for measurements; it may be nil.
	Observer *Observer
	Timing   Timing
}

// Timing are the link's times. Zero fields take the defaults.
type Timing struct {
	Handshake   time.Duration // dialling, with proxy, TLS and upgrade; 20 s
	Welcome     time.Duration // from hello to welcome; 20 s
	Request     time.Duration // a POST, and what a poll may take beyond its wait; 30 s
	Wait        time.Duration // of a poll; 50 s less up to a tenth of jitter; negative = it isn't to be held
	BackoffBase time.Duration // 1 s
	BackoffCap  time.Duration // 5 min
	Stable      time.Duration // a session this old resets the backoff; 1 min
	StandbyFor  time.Duration // a standby socket this old takes over; 2 min
	ProbeMin    time.Duration // between probes of the socket, at first; 30 s
	ProbeMax    time.Duration // 30 min
	CutWindow   time.Duration // CutLimit cuts within it mean that the socket doesn't work; 15 min
	CutLimit    int           // 3
	Farewell    time.Duration // for closing a socket in good order; 2 s
}

func (t Timing) withDefaults() Timing {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&t.Handshake, 20*time.Second)
	def(&t.Welcome, 20*time.Second)
	def(&t.Request, 30*time.Second)
	def(&t.Wait, 50*time.Second)
	def(&t.BackoffBase, time.Second)
	def(&t.BackoffCap, 5*time.Minute)
	def(&t.Stable, time.Minute)
	def(&t.StandbyFor, 2*time.Minute)
	def(&t.ProbeMin, 30*time.Second)
	def(&t.ProbeMax, 30*time.Minute)
	def(&t.CutWindow, 15*time.Minute)
	def(&t.Farewell, 2*time.Second)
	if t.CutLimit == 0 {
		t.CutLimit = 3
	}
	return t
}

// maxRetryAfter bounds what a gateway, or something that poses as one, can ask for.
const maxRetryAfter = time.Hour

// Link keeps a session alive to one of a list of gateways.
type Link struct {
	cfg       Config
	log       *slog.Logger
	endpoints []*endpoint
	choice    *choice
	status    statusBoard
	baton     baton
	lastN     counter // number of the last message that was delivered
	bodies    counter // the largest body that gets through, where one didn't; 0 = none is known

	// Of whoever has the session, one at a time.
	reported string // the last slow refusal that was logged
	kept     lastWay
}

// NewLink checks the configuration. It does no network I/O.
func NewLink(cfg Config) (*Link, error) {
	if cfg.Identity == nil {
		return nil, errors.New("link: no identity")
	}
	if len(cfg.Gateways) == 0 && cfg.Ways == nil {
		return nil, errors.New("link: no gateway URL")
	}
	mode, err := ParseMode(string(cfg.Mode))
	if err != nil {
		return nil, err
	}
	cfg.Mode = mode
	cfg.Timing = cfg.Timing.withDefaults()
	l := &Link{cfg: cfg, log: cfg.Log, baton: newBaton()}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Ways == nil {
		if cfg.Ways, err = NewWays(cfg.Gateways, cfg.Network); err != nil {
			return nil, err
		}
	}
	l.endpoints = cfg.Ways.endpoints
	l.choice = newChoice(mode, cfg.Timing, len(l.endpoints), rand.Float64)
	l.status.notify = cfg.OnStatus
	return l, nil
}
