package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"path"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// Bounds of the life of enrolment tokens.
const (
	DefaultEnrollTTL = time.Hour
	MaxEnrollTTL     = 30 * 24 * time.Hour
)

// Grant is what an enrolment token allows.
type Grant struct {
	ID       string // of the token; its uses are counted under it
	URL      string // of the gateway, for the agent
	CASHA256 string // see wire.EnrollClaims
	Hosts    string // shell pattern of allowed ids
	Labels   map[string]string
	Uses     int // 0 = no bound
	Replace  bool
	Expires  time.Time
}

type enrollClaims struct {
	jwt.RegisteredClaims
	wire.EnrollClaims
	Hosts   string            `json:"hosts"`
	Labels  map[string]string `json:"labels,omitempty"`
	Uses    int               `json:"uses,omitempty"`
	Replace bool              `json:"replace,omitempty"`
}

// SignEnroll makes an enrolment token. ID and Expires of the grant are set here
// and returned with it. Errors: *queue.Error with Invalid.
func (s *Signer) SignEnroll(g Grant, ttl time.Duration) (string, Grant, error) {
	if g.Hosts == "" {
		g.Hosts = "*"
	}
	if _, err := path.Match(g.Hosts, ""); err != nil || len(g.Hosts) > 256 {
		return "", g, queue.Errorf(queue.Invalid, "hosts: %.80q is not a shell pattern of at most 256 bytes", g.Hosts)
	}
	if err := queue.ValidateLabels(g.Labels); err != nil {
		return "", g, err
	}
	if g.Uses < 0 {
		return "", g, queue.Errorf(queue.Invalid, "uses: %d is negative", g.Uses)
	}
	if ttl < time.Second || ttl > MaxEnrollTTL {
		return "", g, queue.Errorf(queue.Invalid, "ttl: %v is not within 1s to %v", ttl, MaxEnrollTTL)
	}
	now := time.Now()
	g.ID, g.Expires = newID(), now.Add(ttl).Truncate(time.Second)
	token, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, enrollClaims{
		RegisteredClaims: jwt.RegisteredClaims{Issuer: issuer, ID: g.ID,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(g.Expires)},
		EnrollClaims: wire.EnrollClaims{Kind: string(KindEnroll), URL: g.URL, CASHA256: g.CASHA256},
		Hosts:        g.Hosts, Labels: g.Labels, Uses: g.Uses, Replace: g.Replace,
	}).SignedString(s.private)
	if err != nil {
		return "", g, err
	}
	if len(token) > MaxToken {
		return "", g, queue.Errorf(queue.Invalid, "labels: the token would have %d bytes, at most %d; set some by an operator instead", len(token), MaxToken)
	}
	return token, g, nil
}

// VerifyEnroll checks an enrolment token. Errors are *Error.
func (s *Signer) VerifyEnroll(token string) (Grant, error) {
	if _, err := peek(token, KindEnroll); err != nil {
		return Grant{}, err
	}
	var c enrollClaims
	if err := verify(token, &c, s.public, jwt.WithIssuer(issuer)); err != nil {
		return Grant{}, err
	}
	if Kind(c.Kind) != KindEnroll || c.ID == "" || c.Hosts == "" {
		return Grant{}, refuse(Malformed, "the enrolment token lacks its id or its pattern of hosts")
	}
	return Grant{ID: c.ID, URL: c.URL, CASHA256: c.CASHA256, Hosts: c.Hosts, Labels: c.Labels,
		Uses: c.Uses, Replace: c.Replace, Expires: c.ExpiresAt.Time}, nil
}

// Admit checks that the grant allows what the request asks for and that its
// sender holds the key, and gives what to enrol. Errors: *queue.Error with
// Invalid, *Error with Used or BadKey.
func (g Grant) Admit(token string, req wire.EnrollRequest) (queue.Enrollment, error) {
	host := queue.HostID(req.Host)
	if err := host.Validate(); err != nil {
		return queue.Enrollment{}, err
	}
	if len(req.PublicKey) != ed25519.PublicKeySize {
		return queue.Enrollment{}, queue.Errorf(queue.Invalid, "public_key: %d bytes, an Ed25519 key has %d", len(req.PublicKey), ed25519.PublicKeySize)
	}
	if !ed25519.Verify(req.PublicKey, wire.EnrollProof(req.Host, token), req.Proof) {
		return queue.Enrollment{}, refuse(BadKey, "proof: not the signature of this host and token by the public key")
	}
	if ok, err := path.Match(g.Hosts, req.Host); err != nil || !ok {
		return queue.Enrollment{}, refuse(Used, "the enrolment token is for hosts %.80q, not for %.140s", g.Hosts, req.Host)
	}
	return queue.Enrollment{Host: host, PublicKey: ed25519.PublicKey(req.PublicKey), Labels: g.Labels,
		Replace: g.Replace, Token: g.ID, Uses: g.Uses, Expires: g.Expires}, nil
}

// newID makes an id for a token.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return strings.ToLower(hex.EncodeToString(b[:]))
}
