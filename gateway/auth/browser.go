package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// MaxBrowserTTL bounds the life of a login in a browser.
const MaxBrowserTTL = 12 * time.Hour

// SignBrowser makes the token that a browser's cookie holds in the place of an
// operator's token: same subject, same scopes. It ends with the operator's, and after
// MaxBrowserTTL at the latest. Errors: *Error with Time if there is no second left.
func (s *Signer) SignBrowser(o Operator) (token string, expires time.Time, err error) {
	now := time.Now()
	ttl := min(o.Expires.Sub(now), MaxBrowserTTL)
	if ttl < time.Second {
		return "", time.Time{}, refuse(Time, "the token has expired; the gateway's time is %s", now.UTC().Format(time.RFC3339))
	}
	expires = now.Add(ttl).Truncate(time.Second)
	token, err = jwt.NewWithClaims(jwt.SigningMethodEdDSA, operatorClaims{
		RegisteredClaims: jwt.RegisteredClaims{Issuer: issuer, Subject: o.Subject, ID: newID(),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires)},
		Kind: KindBrowser, Scope: strings.Join(o.Scopes, " "),
	}).SignedString(s.private)
	return token, expires, err
}

// VerifyBrowser checks the token of a browser's cookie. Errors are *Error.
func (s *Signer) VerifyBrowser(token string) (Operator, error) {
	return s.verifyOperator(token, KindBrowser)
}

// KeyID names the key, for people and for what has to be told apart by it. It tells nothing of
// the private half.
func (s *Signer) KeyID() string {
	sum := sha256.Sum256(s.public)
	return hex.EncodeToString(sum[:4])
}
