package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Kind is what a token is for.
type Kind string

// The kinds.
const (
	KindOperator Kind = "operator"
	KindEnroll   Kind = "enroll"
	KindHost     Kind = "host"
	KindBrowser  Kind = "browser"
)

// called is how messages name a kind.
func (k Kind) called() string {
	switch k {
	case KindOperator:
		return "an operator's token"
	case KindEnroll:
		return "an enrolment token"
	case KindHost:
		return "a host's token"
	case KindBrowser:
		return "a browser's cookie"
	}
	return fmt.Sprintf("a token of kind %.20q", string(k))
}

// Bounds of tokens.
const (
	MaxToken = 8 << 10          // bytes
	Leeway   = 10 * time.Second // beyond a token's times, for clocks that differ
)

// Reason classifies an [Error].
type Reason string

// The reasons, with what they mean to a client.
const (
	Missing   Reason = "missing"   // no bearer token
	Malformed Reason = "malformed" // not a token, or without needed claims
	WrongKind Reason = "wrong_kind"
	BadKey    Reason = "bad_key"  // the signature isn't by the key it must be by
	Unknown   Reason = "unknown"  // no such host, or code
	Time      Reason = "time"     // expired, not valid yet, or too long: mind the gateway's clock
	Revoked   Reason = "revoked"  // the host is barred
	Scope     Reason = "scope"    // the operator may not do this
	Used      Reason = "not_here" // the enrolment token doesn't allow this host
)

// Error says why a token was refused.
type Error struct {
	Reason  Reason
	Message string
}

func (e *Error) Error() string { return e.Message }

func refuse(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Message: fmt.Sprintf(format, args...)}
}

// Bearer gives the bearer token of a request's Authorization header, the only
// place where one is looked for.
func Bearer(h http.Header) (string, error) {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return "", refuse(Missing, "no token: send the header Authorization: Bearer TOKEN")
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if len(values) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", refuse(Malformed, "the Authorization header isn't one of the form: Bearer TOKEN")
	}
	if len(token) > MaxToken {
		return "", refuse(Malformed, "the token has %d bytes, at most %d", len(token), MaxToken)
	}
	return token, nil
}

// peeked are the claims that say whose token it is, before anything is
// verified.
type peeked struct {
	Kind    Kind   `json:"kind"`
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

func (p peeked) kind() Kind {
	if p.Kind == "" && p.Issuer != "" && p.Issuer == p.Subject {
		return KindHost
	}
	return p.Kind
}

// peek reads a token's claims without trusting them, and refuses a token of
// another kind than want.
func peek(token string, want Kind) (peeked, error) {
	var p peeked
	if len(token) > MaxToken {
		return p, refuse(Malformed, "the token has %d bytes, at most %d", len(token), MaxToken)
	}
	_, rest, ok := strings.Cut(token, ".")
	payload, _, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return p, refuse(Malformed, "the token is not a JWT (three parts joined by dots)")
	}
	b, err := jwt.NewParser(jwt.WithStrictDecoding()).DecodeSegment(payload)
	if err != nil {
		return p, refuse(Malformed, "the token is not a JWT: its claims aren't base64url")
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, refuse(Malformed, "the token is not a JWT: its claims aren't a JSON object of the expected types")
	}
	if k := p.kind(); k != want {
		if k == "" {
			return p, refuse(WrongKind, "%s is needed here; this token doesn't say what it is", want.called())
		}
		return p, refuse(WrongKind, "%s is needed here; this is %s", want.called(), k.called())
	}
	return p, nil
}

// verify checks a token's signature and times and fills claims.
func verify(token string, claims jwt.Claims, key any, opts ...jwt.ParserOption) error {
	opts = append([]jwt.ParserOption{
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(Leeway),
	}, opts...)
	t, err := jwt.NewParser(opts...).ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		// RFC 7515: what is critical and not understood must be refused.
		if _, ok := t.Header["crit"]; ok {
			return nil, errors.New("header crit isn't understood")
		}
		return key, nil
	})
	now := time.Now().UTC().Format(time.RFC3339)
	switch {
	case err == nil && t.Valid:
		return nil
	case errors.Is(err, jwt.ErrTokenExpired):
		return refuse(Time, "the token has expired; the gateway's time is %s", now)
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return refuse(Time, "the token isn't valid yet; the gateway's time is %s", now)
	case errors.Is(err, jwt.ErrTokenSignatureInvalid) && t != nil && t.Method != nil && t.Method.Alg() != jwt.SigningMethodEdDSA.Alg():
		return refuse(BadKey, "the token's algorithm is %.20q; only EdDSA is accepted", t.Method.Alg())
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return refuse(BadKey, "the token's signature isn't by the key it must be by")
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return refuse(Malformed, "the token is for another audience")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return refuse(Malformed, "the token lacks a claim that it needs: exp, iat, iss, sub and aud as its kind asks")
	default:
		return refuse(Malformed, "the token can't be read: %.120s", fmt.Sprint(err))
	}
}
