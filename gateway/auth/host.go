package auth

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rexgate/rexgate/gateway/recent"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// MaxHostTTL bounds the life of a host's token, from iat to exp.
const MaxHostTTL = 10 * time.Minute

// HostReader is the part of the store that Hosts needs.
type HostReader interface {
	Host(ctx context.Context, id queue.HostID) (queue.Host, error)
}

// HostsConfig bounds the cache of enrolled keys. Zero values take the
// defaults.
type HostsConfig struct {
	Max int           // entries; default 131072
	TTL time.Duration // how long a key is believed; default 10 s
	// Again is how soon a signature that fails may make a key be read anew;
	// default 1 s.
	Again time.Duration
}

// Hosts checks hosts' tokens against their enrolled keys. It is safe for
// concurrent use.
type Hosts struct {
	store  HostReader
	config HostsConfig
	keys   *recent.Map[queue.HostID, enrolled]

	mu      sync.Mutex // guards forgets, and that nothing is put in keys across one
	forgets uint64
}

// enrolled is what is believed of a host.
type enrolled struct {
	key         ed25519.PublicKey
	incarnation int64
	revoked     bool
	read        time.Time
	// The last token that was verified: agents use one for minutes, and checking
	// it again costs more than everything else in an empty poll.
	token   [sha256.Size]byte
	expires time.Time
}

// Host is a host that a token speaks for.
type Host struct {
	ID          queue.HostID
	Incarnation int64
	Expires     time.Time // of the token
}

// NewHosts makes a checker that reads keys from a store.
func NewHosts(store HostReader, c HostsConfig) *Hosts {
	if c.Max == 0 {
		c.Max = 128 << 10
	}
	if c.TTL == 0 {
		c.TTL = 10 * time.Second
	}
	if c.Again == 0 {
		c.Again = time.Second
	}
	return &Hosts{store: store, config: c, keys: recent.New[queue.HostID, enrolled](c.Max)}
}

// Forget drops what is believed of a host: its key changed or it was revoked.
func (h *Hosts) Forget(id queue.HostID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forgets++
	h.keys.Delete(id)
}

// believe keeps what was read when there had been so many forgets. What was
// read before a Forget isn't kept after it.
func (h *Hosts) believe(id queue.HostID, e enrolled, forgets uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.forgets == forgets {
		h.keys.Put(id, e)
	}
}

func (h *Hosts) forgotten() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.forgets
}

// Verify checks a host's token. It may read the store. Errors are *Error, or
// the store's.
func (h *Hosts) Verify(ctx context.Context, token string) (Host, error) {
	p, err := peek(token, KindHost)
	if err != nil {
		return Host{}, err
	}
	id := queue.HostID(p.Subject)
	if err := id.Validate(); err != nil || p.Issuer != p.Subject {
		return Host{}, refuse(Malformed, "a host's token names its host as iss and as sub")
	}
	now, forgets := time.Now(), h.forgotten()
	known, cached := h.keys.Get(id)
	if cached && now.Sub(known.read) > h.config.TTL {
		cached = false
	}
	if !cached {
		if known, err = h.read(ctx, id, known, forgets); err != nil {
			return Host{}, err
		}
	}
	expires, err := known.check(id, token)
	if reasonOf(err) == BadKey && cached && now.Sub(known.read) > h.config.Again {
		// Perhaps it was enrolled anew on another gateway a moment ago.
		fresh, rerr := h.read(ctx, id, known, forgets)
		if rerr != nil {
			return Host{}, rerr
		}
		known = fresh
		expires, err = known.check(id, token)
	}
	if err != nil {
		return Host{}, err
	}
	if known.revoked {
		return Host{}, refuse(Revoked, "host %s is revoked; an operator must let it enrol anew", id)
	}
	if sum := sha256.Sum256([]byte(token)); sum != known.token {
		known.token, known.expires = sum, expires
		h.believe(id, known, forgets)
	}
	return Host{ID: id, Incarnation: known.incarnation, Expires: expires}, nil
}

func (h *Hosts) read(ctx context.Context, id queue.HostID, before enrolled, forgets uint64) (enrolled, error) {
	at := time.Now()
	host, err := h.store.Host(ctx, id)
	if queue.CodeOf(err) == queue.NotFound {
		h.keys.Delete(id)
		return enrolled{}, refuse(Unknown, "host %s is not enrolled", id)
	}
	if err != nil {
		return enrolled{}, err
	}
	e := enrolled{key: host.PublicKey, incarnation: host.Incarnation, revoked: host.Revoked, read: at}
	if bytes.Equal(before.key, e.key) {
		e.token, e.expires = before.token, before.expires
	}
	h.believe(id, e, forgets)
	return e, nil
}

// check verifies a token under the believed key.
func (e enrolled) check(id queue.HostID, token string) (time.Time, error) {
	if len(e.key) != ed25519.PublicKeySize {
		return time.Time{}, refuse(BadKey, "host %s has no key; it must enrol", id)
	}
	if time.Now().Before(e.expires) && sha256.Sum256([]byte(token)) == e.token {
		return e.expires, nil
	}
	var c struct {
		jwt.RegisteredClaims
		Kind Kind `json:"kind"`
	}
	err := verify(token, &c, e.key, jwt.WithAudience(wire.Audience), jwt.WithIssuer(string(id)), jwt.WithSubject(string(id)))
	if err != nil {
		return time.Time{}, err
	}
	if c.Kind != "" && c.Kind != KindHost {
		return time.Time{}, refuse(WrongKind, "a host's token is needed here; this is %s", c.Kind.called())
	}
	if c.IssuedAt == nil {
		return time.Time{}, refuse(Malformed, "a host's token needs iat")
	}
	if life := c.ExpiresAt.Sub(c.IssuedAt.Time); life <= 0 || life > MaxHostTTL {
		return time.Time{}, refuse(Time, "the token lives for %v, at most %v", life, MaxHostTTL)
	}
	return c.ExpiresAt.Time, nil
}

func reasonOf(err error) Reason {
	if e, ok := err.(*Error); ok {
		return e.Reason
	}
	return ""
}
