package client

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rexgate/rexgate/session/wire"
)

// Files in the state directory.
const (
	keyFile  = "host.key"  // PKCS #8 in PEM, mode 0600
	hostFile = "host.json" // a HostFile
	caFile   = "ca.pem"    // the CA that the enrolment token pinned
)

// Life of a host's token, and what must be left of it when it is used again.
const (
	tokenLife = 5 * time.Minute
	tokenLeft = time.Minute
)

// ErrNotEnrolled says that the state directory has no identity.
var ErrNotEnrolled = errors.New("this host isn't enrolled")

// HostFile is what enrolment leaves in the state directory beside the key.
type HostFile struct {
	Host        string   `json:"host"`
	Incarnation int64    `json:"incarnation"`
	Gateways    []string `json:"gateways"`
	// CAFile is relative to the state directory; "" = the system's CAs.
	CAFile   string `json:"ca_file,omitempty"`
	CASHA256 string `json:"ca_sha256,omitempty"`
}

// HostIdentity signs a host's tokens with its key. It is safe for concurrent use.
type HostIdentity struct {
	dir  string
	file HostFile
	key  ed25519.PrivateKey

	mu      sync.Mutex // guards the following
	learnt  int64      // the gateway's time, Unix milliseconds, at anchor; 0 = none yet
	anchor  time.Time
	token   string
	expires time.Time
}

// LoadIdentity reads what Enroll left. ErrNotEnrolled (with errors.Is) if there is
// nothing; a key that others may read is refused.
func LoadIdentity(dir string) (*HostIdentity, error) {
	b, err := os.ReadFile(filepath.Join(dir, hostFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no %s in %s; run rexagent enroll with a token from an operator", ErrNotEnrolled, hostFile, dir)
	}
	if err != nil {
		return nil, err
	}
	h := &HostIdentity{dir: dir}
	if err := json.Unmarshal(b, &h.file); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, hostFile), err)
	}
	if h.file.Host == "" || len(h.file.Gateways) == 0 {
		return nil, fmt.Errorf("%s: names no host or no gateway; enrol again", filepath.Join(dir, hostFile))
	}
	if h.key, err = loadKey(dir); err != nil {
		return nil, err
	}
	return h, nil
}

// NewIdentity makes an identity from a key that is kept elsewhere, or nowhere.
func NewIdentity(host string, key ed25519.PrivateKey) *HostIdentity {
	return &HostIdentity{file: HostFile{Host: host}, key: key}
}

// Host gives the host's id, gateways and CA, as enrolled.
func (h *HostIdentity) Host() HostFile { return h.file }

// Network adds the enrolled CA to n, where n names none.
func (h *HostIdentity) Network(n Network) Network {
	if n.CAFile == "" && n.CASHA256 == "" {
		if n.CASHA256 = h.file.CASHA256; h.file.CAFile != "" {
			n.CAFile = filepath.Join(h.dir, h.file.CAFile)
		}
	}
	return n
}

// PublicKey is what the gateway knows the host by.
func (h *HostIdentity) PublicKey() ed25519.PublicKey { return h.key.Public().(ed25519.PublicKey) }

// Token gives a token with at least a minute left by the gateway's time.
func (h *HostIdentity) Token() (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if h.token != "" && h.expires.Sub(now) > tokenLeft {
		return h.token, nil
	}
	expires := now.Add(tokenLife)
	token, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{
		Issuer:    h.file.Host,
		Subject:   h.file.Host,
		Audience:  jwt.ClaimStrings{wire.Audience},
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(expires),
	}).SignedString(h.key)
	if err != nil {
		return "", err
	}
	h.token, h.expires = token, expires
	return token, nil
}

// Learn takes the gateway's time, Unix milliseconds, as just received.
func (h *HostIdentity) Learn(gatewayTime int64) {
	if gatewayTime <= 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.now()
	h.learnt, h.anchor = gatewayTime, time.Now()
	if d := h.now().Sub(before); d < -tokenLeft/2 || d > tokenLeft/2 {
		h.token = "" // signed with a wrong time
	}
}

// Now is the time as learnt from the gateway; this host's own before anything was.
func (h *HostIdentity) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now()
}

func (h *HostIdentity) now() time.Time {
	if h.learnt == 0 {
		return time.Now()
	}
	// By the monotonic clock: a step of the host's clock changes nothing.
	return time.UnixMilli(h.learnt).Add(time.Since(h.anchor))
}

func loadKey(dir string) (ed25519.PrivateKey, error) {
	path := filepath.Join(dir, keyFile)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others may read this key (mode %04o); enrol with a new one, or chmod 600 it if nobody did", path, info.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: no private key in PEM form", path)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: not an Ed25519 key", path)
	}
	return key, nil
}

// makeKey gives the key of a state directory, and makes it if there is none.
func makeKey(dir string) (ed25519.PrivateKey, error) {
	key, err := loadKey(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if _, key, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(filepath.Join(dir, keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}
