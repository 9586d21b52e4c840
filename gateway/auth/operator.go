package auth

import (
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rexgate/rexgate/gateway/api"
)

// issuer is who signs operators' and enrolment tokens.
const issuer = "rexgate"

// MaxOperatorTTL bounds the life of operators' tokens.
const MaxOperatorTTL = 366 * 24 * time.Hour

// Scopes lists all scopes of operators.
func Scopes() []string {
	return []string{api.ScopeJobsSubmit, api.ScopeJobsRead, api.ScopeJobsCancel, api.ScopeOutputRead,
		api.ScopeHostsRead, api.ScopeHostsAdmin, api.ScopeAuditRead}
}

// Operator is a person or program that a token speaks for.
type Operator struct {
	Subject string
	Scopes  []string
	Expires time.Time
}

// Require tells whether the operator has all the scopes.
func (o Operator) Require(scopes ...string) error {
	for _, s := range scopes {
		if !slices.Contains(o.Scopes, s) {
			return refuse(Scope, "the token of %.60q lacks the scope %s; it has: %s", o.Subject, s, strings.Join(o.Scopes, " "))
		}
	}
	return nil
}

type operatorClaims struct {
	jwt.RegisteredClaims
	Kind  Kind   `json:"kind"`
	Scope string `json:"scope"` // joined by spaces, as in OAuth
}

// SignOperator makes an operator's token. o.Expires is not used: it lives for
// ttl.
func (s *Signer) SignOperator(o Operator, ttl time.Duration) (token string, expires time.Time, err error) {
	if o.Subject == "" || len(o.Subject) > 200 || strings.ContainsFunc(o.Subject, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", time.Time{}, refuse(Malformed, "subject: %.60q is not 1 to 200 bytes without control characters", o.Subject)
	}
	if len(o.Scopes) == 0 {
		return "", time.Time{}, refuse(Malformed, "scopes: none; choose from %s", strings.Join(Scopes(), " "))
	}
	for _, sc := range o.Scopes {
		if !slices.Contains(Scopes(), sc) {
			return "", time.Time{}, refuse(Malformed, "scopes: %.40q is unknown; choose from %s", sc, strings.Join(Scopes(), " "))
		}
	}
	if ttl < time.Second || ttl > MaxOperatorTTL {
		return "", time.Time{}, refuse(Malformed, "ttl: %v is not within 1s to %v", ttl, MaxOperatorTTL)
	}
	now := time.Now()
	expires = now.Add(ttl).Truncate(time.Second)
	token, err = jwt.NewWithClaims(jwt.SigningMethodEdDSA, operatorClaims{
		RegisteredClaims: jwt.RegisteredClaims{Issuer: issuer, Subject: o.Subject, ID: newID(),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires)},
		Kind: KindOperator, Scope: strings.Join(o.Scopes, " "),
	}).SignedString(s.private)
	return token, expires, err
}

// VerifyOperator checks an operator's token. Errors are *Error.
func (s *Signer) VerifyOperator(token string) (Operator, error) {
	return s.verifyOperator(token, KindOperator)
}

func (s *Signer) verifyOperator(token string, kind Kind) (Operator, error) {
	if _, err := peek(token, kind); err != nil {
		return Operator{}, err
	}
	var c operatorClaims
	if err := verify(token, &c, s.public, jwt.WithIssuer(issuer)); err != nil {
		return Operator{}, err
	}
	// The signed claims decide, whatever a second reading of the JSON might yield.
	if c.Kind != kind || c.Subject == "" {
		return Operator{}, refuse(Malformed, "the token names no operator")
	}
	return Operator{Subject: c.Subject, Scopes: strings.Fields(c.Scope), Expires: c.ExpiresAt.Time}, nil
}
