package client

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rexgate/rexgate/session/wire"
)

// EnrollConfig is what Enroll needs: Dir, Token and Host.
type EnrollConfig struct {
	Dir   string // the state directory; made if it isn't there
	Token string // the enrolment token
	Host  string // the id that the host wants
	// Gateways are further base URLs to keep, after the token's.
	Gateways []string
	Network  Network
}

// RefusedError is a gateway that refused an enrolment.
type RefusedError struct {
	Status int
	Code   string // as in the problem document; "" if there was none
	Reason string
}

func (e *RefusedError) Error() string { return "the gateway refuses the enrolment: " + e.Reason }

// Enroll registers this host with the gateway that the token names, with the key in the state
// directory (made if there is none), and writes what LoadIdentity reads. It waits and
// tries again while the gateway asks for that (429, 503), until ctx ends. Doing it again with the
// same token changes nothing. Errors: *RefusedError; others are of the network or the disk.
func Enroll(ctx context.Context, cfg EnrollConfig) (*HostIdentity, error) {
	claims, err := readEnrollToken(cfg.Token)
	if err != nil {
		return nil, err
	}
	if claims.CASHA256 != "" {
		cfg.Network.CASHA256 = claims.CASHA256
	}
	eps, err := cfg.Network.endpoints([]string{claims.URL})
	if err != nil {
		return nil, fmt.Errorf("enrolment token: %w", err)
	}
	ep := eps[0]
	defer ep.closeIdle()
	ca := captureCA(ep, cfg.Network.CASHA256)

	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	key, err := makeKey(cfg.Dir)
	if err != nil {
		return nil, err
	}
	answer, err := enroll(ctx, ep, cfg.Token, cfg.Host, key)
	if err != nil {
		return nil, err
	}
	file := HostFile{Host: answer.Host, Incarnation: answer.Incarnation, Gateways: []string{ep.url}, CASHA256: cfg.Network.CASHA256}
	for _, g := range cfg.Gateways {
		if g = strings.TrimRight(g, "/"); !slices.Contains(file.Gateways, g) {
			file.Gateways = append(file.Gateways, g)
		}
	}
	if err := keepCA(cfg, ca(), &file); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(cfg.Dir, hostFile), append(b, '\n'), 0o600); err != nil {
		return nil, err
	}
	id, err := LoadIdentity(cfg.Dir)
	if err == nil {
		id.Learn(answer.Time)
	}
	return id, err
}

// readEnrollToken reads where a token leads to. Only the gateway can check its
// signature.
func readEnrollToken(token string) (wire.EnrollClaims, error) {
	var claims struct {
		wire.EnrollClaims
		jwt.RegisteredClaims
	}
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
		return wire.EnrollClaims{}, fmt.Errorf("enrolment token: not one (%w)", err)
	}
	if claims.Kind != "enroll" || claims.URL == "" {
		return wire.EnrollClaims{}, fmt.Errorf("enrolment token: this token is of another kind; make one with rexctl token enroll")
	}
	return claims.EnrollClaims, nil
}

func enroll(ctx context.Context, ep *endpoint, token, host string, key ed25519.PrivateKey) (wire.EnrollAnswer, error) {
	var answer wire.EnrollAnswer
	body, err := json.Marshal(wire.EnrollRequest{
		Host:      host,
		PublicKey: key.Public().(ed25519.PublicKey),
		Proof:     ed25519.Sign(key, wire.EnrollProof(host, token)),
	})
	if err != nil {
		return answer, err
	}
	for {
		rctx, cancel := context.WithTimeout(ctx, Timing{}.withDefaults().Request)
		a, err := send(rctx, ep, token, http.MethodPost, wire.PathEnroll, body)
		cancel()
		if err != nil {
			return answer, fmt.Errorf("enrol with %s: %w", ep.url, err)
		}
		switch a.status {
		case http.StatusOK, http.StatusCreated:
			if err := json.Unmarshal(a.body, &answer); err != nil || answer.Host == "" {
				return answer, fmt.Errorf("enrol with %s: the answer isn't a gateway's", ep.url)
			}
			return answer, nil
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			if !sleep(ctx, max(a.retry, time.Second)) {
				return answer, fmt.Errorf("enrol with %s: %w", ep.url, a.err())
			}
			continue
		}
		refused := &RefusedError{Status: a.status, Reason: a.err().Error()}
		if a.problem != nil {
			refused.Code = a.problem.Code
		}
		return answer, refused
	}
}

// captureCA lets the endpoint remember the certificate that the pin names.
func captureCA(ep *endpoint, pin string) func() *x509.Certificate {
	sum, err := hex.DecodeString(pin)
	if err != nil || len(sum) != sha256.Size {
		return func() *x509.Certificate { return nil }
	}
	var mu sync.Mutex
	var ca *x509.Certificate
	roots := ep.tls.RootCAs
	ep.tls.VerifyConnection = func(cs tls.ConnectionState) error {
		c, err := verifyPin(cs, [sha256.Size]byte(sum), roots)
		mu.Lock()
		defer mu.Unlock()
		ca = c
		return err
	}
	return func() *x509.Certificate {
		mu.Lock()
		defer mu.Unlock()
		return ca
	}
}

// keepCA writes the CA that later connections are to trust: the pinned one, or
// the given file's.
func keepCA(cfg EnrollConfig, ca *x509.Certificate, file *HostFile) error {
	var b []byte
	switch {
	case ca != nil:
		b = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	case cfg.Network.CAFile != "":
		var err error
		if b, err = os.ReadFile(cfg.Network.CAFile); err != nil {
			return err
		}
	default:
		return nil
	}
	file.CAFile = caFile
	return writeFile(filepath.Join(cfg.Dir, caFile), b, 0o644)
}
