package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// KeyFile is the name of the operators' key in a data directory.
const KeyFile = "operators.key"

// Signer signs and checks operators' and enrolment tokens with the gateway's own
// key. It is safe for concurrent use.
type Signer struct {
	private ed25519.PrivateKey
	public  ed25519.PublicKey
}

// NewSigner makes a signer of a key.
func NewSigner(key ed25519.PrivateKey) *Signer {
	return &Signer{private: key, public: key.Public().(ed25519.PublicKey)}
}

// LoadSigner reads the key from a PEM file (PKCS #8). A file that others than
// its owner may read is refused.
func LoadSigner(path string) (*Signer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("operators' key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("operators' key: %s can be read by others (mode %04o); chmod 600 it", path, info.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("operators' key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("operators' key: %s holds no PEM block", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("operators' key: %s: %w", path, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("operators' key: %s holds a %T, not an Ed25519 key", path, key)
	}
	return NewSigner(private), nil
}

// LoadOrCreateSigner reads the key, or makes one, readable by its owner only.
// Of several processes that do this at once one creates it, and all get the
// same.
func LoadOrCreateSigner(path string) (s *Signer, created bool, err error) {
	s, err = LoadSigner(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return s, false, err
	}
	if err := createKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, fmt.Errorf("operators' key: %w", err)
	} else if err == nil {
		created = true
	}
	s, err = LoadSigner(path)
	return s, created, err
}

// createKey writes a new key durably, and never over an existing one: a link
// fails where the name is taken, and nobody sees half a file.
func createKey(path string) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	if err := pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der}); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
